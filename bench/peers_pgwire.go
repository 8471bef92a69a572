package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"strconv"
)

// pgLink is one connection to PostgreSQL. It speaks as much of the protocol, version 3, as this needs: plain statements and
// COPY in both directions, binary. A driver would add to the module what only a comparison uses.
type pgLink struct {
	conn net.Conn
	in   *bufio.Reader
	body []byte // of the message at hand
}

// pgMessageMax bounds a message: rows here have tens of bytes.
const pgMessageMax = 1 << 20

func dialPostgres(ctx context.Context, port int) (*pgLink, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", "127.0.0.1:"+strconv.Itoa(port))
	if err != nil {
		return nil, err
	}
	l := newPgLink(conn)
	if err := l.greet(); err != nil {
		conn.Close()
		return nil, err
	}
	return l, nil
}

func newPgLink(conn net.Conn) *pgLink {
	return &pgLink{conn: conn, in: bufio.NewReaderSize(conn, 256<<10)}
}

func (l *pgLink) close() error { return l.conn.Close() }

func (l *pgLink) greet() error {
	b := binary.BigEndian.AppendUint32(nil, 0)
	b = binary.BigEndian.AppendUint32(b, 3<<16)
	b = append(b, "user\x00postgres\x00database\x00postgres\x00\x00"...)
	binary.BigEndian.PutUint32(b, uint32(len(b)))
	if _, err := l.conn.Write(b); err != nil {
		return err
	}
	return l.untilReady(nil)
}

// send writes one message.
func (l *pgLink) send(kind byte, body ...[]byte) error {
	size := 4
	for _, b := range body {
		size += len(b)
	}
	all := net.Buffers{binary.BigEndian.AppendUint32([]byte{kind}, uint32(size))}
	all = append(all, body...)
	_, err := all.WriteTo(l.conn)
	return err
}

// next is one message; its body is good until the one after it.
func (l *pgLink) next() (byte, []byte, error) {
	var head [5]byte
	if _, err := io.ReadFull(l.in, head[:]); err != nil {
		return 0, nil, fmt.Errorf("read from PostgreSQL: %w", err)
	}
	size := int(binary.BigEndian.Uint32(head[1:])) - 4
	if size < 0 || size > pgMessageMax {
		return 0, nil, fmt.Errorf("PostgreSQL sends a message %q of %d bytes", head[0], size)
	}
	if cap(l.body) < size {
		l.body = make([]byte, size)
	}
	l.body = l.body[:size]
	_, err := io.ReadFull(l.in, l.body)
	return head[0], l.body, err
}

// untilReady reads up to the server's readiness for the next statement, and returns the first error on the way.
func (l *pgLink) untilReady(data func([]byte) error) error {
	var failed error
	for {
		kind, body, err := l.next()
		if err != nil {
			return err
		}
		switch {
		case kind == 'E':
			failed = errors.Join(failed, pgError(body))
		case kind == 'R' && len(body) >= 4 && binary.BigEndian.Uint32(body) != 0:
			return errors.New("PostgreSQL asks for a password")
		case kind == 'd' && data != nil && failed == nil:
			failed = data(body)
		case kind == 'Z':
			return failed
		}
	}
}

// pgError finds the message among the fields of an ErrorResponse.
func pgError(body []byte) error {
	for field := range bytes.SplitSeq(body, []byte{0}) {
		if len(field) > 1 && field[0] == 'M' {
			return fmt.Errorf("PostgreSQL: %s", field[1:])
		}
	}
	return errors.New("PostgreSQL: an error without a message")
}

func (l *pgLink) run(sql string) error {
	if err := l.send('Q', []byte(sql), []byte{0}); err != nil {
		return err
	}
	return l.untilReady(nil)
}

// pgCopyStart is the head of binary COPY data: signature, no flags, no extension.
const pgCopyStart = "PGCOPY\n\xff\r\n\x00" + "\x00\x00\x00\x00" + "\x00\x00\x00\x00"

// copyOut calls row with the fields of every row of a query; they are good until it returns.
func (l *pgLink) copyOut(sql string, row func([][]byte) error) error {
	if err := l.send('Q', []byte("COPY ("+sql+") TO STDOUT (FORMAT binary)\x00")); err != nil {
		return err
	}
	started, ended := false, false
	var fields [][]byte
	err := l.untilReady(func(b []byte) error {
		if !started {
			if !bytes.HasPrefix(b, []byte(pgCopyStart)) {
				return fmt.Errorf("COPY data begins with %.20q", b)
			}
			b, started = b[len(pgCopyStart):], true
		}
		for len(b) > 0 && !ended {
			var err error
			if fields, b, err = pgRow(fields[:0], b); err != nil {
				return err
			}
			if fields == nil {
				ended = true
			} else if err := row(fields); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil && !ended {
		err = errors.New("COPY data has no end")
	}
	return err
}

// pgRow cuts one row of COPY data; nil fields are its end. No field here is NULL.
func pgRow(fields [][]byte, b []byte) ([][]byte, []byte, error) {
	cut := errors.New("a row of COPY data is cut off")
	if len(b) < 2 {
		return nil, nil, cut
	}
	n := int16(binary.BigEndian.Uint16(b))
	if b = b[2:]; n == -1 {
		return nil, b, nil
	}
	for range n {
		if len(b) < 4 {
			return nil, nil, cut
		}
		size := int32(binary.BigEndian.Uint32(b))
		if b = b[4:]; size < 0 || int(size) > len(b) {
			return nil, nil, cut
		}
		fields, b = append(fields, b[:size]), b[size:]
	}
	if fields == nil {
		return nil, nil, errors.New("a row of COPY data without fields")
	}
	return fields, b, nil
}

// copyWriter sends batches with COPY, each a transaction of its own.
type copyWriter struct {
	link *pgLink
	body []byte
}

func newCopyWriter(l *pgLink) *copyWriter { return &copyWriter{link: l, body: []byte(pgCopyStart)} }

func (w *copyWriter) add(tag int, times []int64, values []float64) {
	b := w.body
	for i, t := range times {
		b = append(b, 0, 3, 0, 0, 0, 4)
		b = binary.BigEndian.AppendUint32(b, uint32(tag))
		b = append(b, 0, 0, 0, 8)
		b = binary.BigEndian.AppendUint64(b, uint64(t/millisecond))
		b = append(b, 0, 0, 0, 8)
		b = binary.BigEndian.AppendUint64(b, math.Float64bits(values[i]))
	}
	w.body = b
}

func (w *copyWriter) send(context.Context) (int, error) {
	w.body = append(w.body, 0xff, 0xff) // the end of the data
	n := len(w.body)
	err := w.link.send('Q', []byte("COPY s FROM STDIN (FORMAT binary)\x00"))
	for at := 0; err == nil && at < n; {
		size := min(64<<10, n-at)
		err = w.link.send('d', w.body[at:at+size])
		at += size
	}
	if err == nil {
		err = w.link.send('c')
	}
	if err == nil {
		err = w.link.untilReady(nil)
	}
	w.body = append(w.body[:0], pgCopyStart...)
	return n, err
}

func (w *copyWriter) close() error { return w.link.close() }
