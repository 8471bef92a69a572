package opcua

import (
	"crypto/sha1" // what other tools show of a certificate; nothing is decided by it
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/varvedb/varve/collector"
)

// Certificate is one of a server, or of an authority, that lies in a folder of a source.
type Certificate struct {
	Trusted      bool // else it was met and is not trusted, or not any more
	Authority    bool // what it signed is trusted too
	Fingerprint  string
	Thumbprint   string // SHA-1, by which OPC UA's own tools name a certificate
	Name         string
	Applications []string // the URIs of the applications that it is for
	NotBefore    time.Time
	NotAfter     time.Time
	File         string
}

// Errors of trust, to test with errors.Is.
var (
	ErrNoCertificate = errors.New("there is no such certificate")
	ErrFingerprint   = errors.New("a certificate is named by its SHA-256 fingerprint, 64 hexadecimal digits")
)

// certificate describes a certificate in a file.
func certificate(c *x509.Certificate, file string, trusted bool) Certificate {
	thumb := sha1.Sum(c.Raw)
	out := Certificate{
		Trusted: trusted, Authority: c.IsCA, Fingerprint: Fingerprint(c.Raw), Thumbprint: hex.EncodeToString(thumb[:]), Name: c.Subject.CommonName,
		NotBefore: c.NotBefore, NotAfter: c.NotAfter, File: file,
	}
	for _, u := range c.URIs {
		out.Applications = append(out.Applications, u.String())
	}
	return out
}

// Certificates are those that a source whose folder is dir trusts, and then those that it met and does not trust, by name.
func Certificates(dir string) (out []Certificate, err error) {
	p := pki{dir: dir}
	for _, folder := range []string{trustedFolder, rejectedFolder} {
		begin := len(out)
		err := p.each(folder, func(c *x509.Certificate, file string) error {
			out = append(out, certificate(c, file, folder == trustedFolder))
			return nil
		})
		if err != nil {
			return nil, err
		}
		slices.SortFunc(out[begin:], func(a, b Certificate) int {
			return strings.Compare(a.Name+"\x00"+a.Fingerprint, b.Name+"\x00"+b.Fingerprint)
		})
	}
	return out, nil
}

// Accept has a source trust a certificate that it met. A collector that runs finds it at its next attempt.
func Accept(dir, fingerprint string, now time.Time) (Certificate, error) {
	return move(dir, fingerprint, rejectedFolder, trustedFolder, func(c *x509.Certificate) error { return usable(c, now) })
}

// Reject has a source trust a certificate no more. What an authority signed that is trusted stays so.
func Reject(dir, fingerprint string) (Certificate, error) {
	return move(dir, fingerprint, trustedFolder, rejectedFolder, func(*x509.Certificate) error { return nil })
}

// move moves a certificate to another folder, where its name is its fingerprint. It is in the one or the other, or in both, after a crash.
func move(dir, fingerprint, from, to string, check func(*x509.Certificate) error) (Certificate, error) {
	fingerprint = strings.ToLower(strings.ReplaceAll(fingerprint, ":", ""))
	if b, err := hex.DecodeString(fingerprint); err != nil || len(b) != 32 {
		return Certificate{}, fmt.Errorf("%.80q: %w", fingerprint, ErrFingerprint)
	}
	p := pki{dir: dir}
	var found *x509.Certificate
	var files []string
	err := p.each(from, func(c *x509.Certificate, file string) error {
		if Fingerprint(c.Raw) == fingerprint {
			found, files = c, append(files, file)
		}
		return nil
	})
	if err != nil {
		return Certificate{}, err
	}
	if found == nil {
		return Certificate{}, fmt.Errorf("%s in %s: %w", fingerprint, p.folder(from), ErrNoCertificate)
	}
	if err := check(found); err != nil {
		return Certificate{}, err
	}
	target := filepath.Join(p.folder(to), fingerprint+".der")
	if err := collector.WriteFile(target, found.Raw); err != nil {
		return Certificate{}, err
	}
	for _, file := range files {
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return Certificate{}, err
		}
	}
	return certificate(found, target, to == trustedFolder), nil
}
