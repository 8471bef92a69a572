package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/varvedb/varve/collector"
)

// collectAgainAfter is how long a collector that failed inside a server is left alone. The server goes on meanwhile.
const collectAgainAfter = 10 * time.Second

// runCollector collects in the server's process until ctx ends. It is a client like any other, over the server's own address and with the rights of
// the token that its configuration names, so that nothing it does goes past what the door checks.
func (f *serveFlags) runCollector(ctx context.Context, own net.Addr, logger *slog.Logger) {
	logger = logger.With("part", "collector")
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	for ctx.Err() == nil {
		s := collectService(f.collect, logger, func(d collector.Destination) (*client, error) {
			if d.Address != collector.Self {
				return dialDestination(d)
			}
			return f.dialSelf(d, own)
		})
		s.Reload = hup
		s.Started = func(c *collector.Config) { logger.Info("collecting", "sources", len(c.Sources)) }
		err := s.Run(ctx)
		if err == nil || ctx.Err() != nil {
			if err != nil {
				logger.Error("the collector did not end well", "error", err)
			}
			return
		}
		logger.Error("the collector failed; the server goes on", "error", err, "retry_in", collectAgainAfter)
		select {
		case <-ctx.Done():
		case <-time.After(collectAgainAfter):
		}
	}
}

// dialSelf makes a client of the server in this process.
func (f *serveFlags) dialSelf(d collector.Destination, own net.Addr) (*client, error) {
	host, port, err := net.SplitHostPort(own.String())
	if err != nil {
		return nil, err
	}
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	address := net.JoinHostPort(host, port)
	if f.security.CertFile == "" {
		return dialTo(address, insecure.NewCredentials(), d.Token.Value(), patience()...)
	}
	config, err := f.ownTLS(d)
	if err != nil {
		return nil, fmt.Errorf("TLS to the server itself: %w", err)
	}
	return dialTo(address, credentials.NewTLS(config), d.Token.Value(), patience()...)
}

// ownTLS takes the server for the one that has the server's own certificate, whatever names that has: what listens at the address is this process.
func (f *serveFlags) ownTLS(d collector.Destination) (*tls.Config, error) {
	config := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, // the certificate is compared below, byte by byte
		VerifyPeerCertificate: func(got [][]byte, _ [][]*x509.Certificate) error {
			own, err := tls.LoadX509KeyPair(f.security.CertFile, f.security.KeyFile) // it may have been renewed
			if err != nil {
				return err
			}
			if len(got) == 0 || !bytes.Equal(got[0], own.Certificate[0]) {
				return errors.New("the certificate is not the server's own")
			}
			return nil
		},
	}
	if d.TLS != nil && d.TLS.Cert != "" {
		pair, err := tls.LoadX509KeyPair(d.TLS.Cert, d.TLS.Key)
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}
