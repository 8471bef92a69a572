package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"strconv"
	"time"
)

// heldBytes is how much of an answer is held back before any of it is sent: what goes wrong until then is answered with a status, and an
// answer that fits has a length.
const heldBytes = 64 << 10

// reply is the body of an answer on its way to an HTTP client.
type reply struct {
	header http.Header // of an answer that goes well; takes effect with its first byte

	w        http.ResponseWriter
	control  *http.ResponseController
	patience time.Duration
	code     int         // of an answer that goes well
	always   http.Header // of any answer
	held     []byte
	begun    bool
	// breakOff is what is written behind an answer that breaks off, where its format has a place for that.
	breakOff func(code, message string) []byte
	refuse   func(h http.Header, status int, message string) []byte // as route has it
}

func newReply(w http.ResponseWriter, patience time.Duration) *reply {
	return &reply{header: http.Header{}, code: http.StatusOK, w: w, control: http.NewResponseController(w), patience: patience}
}

// awaitBody gives the body of the request its time.
func (r *reply) awaitBody() { _ = r.control.SetReadDeadline(time.Now().Add(r.patience)) }

// hasBody ends that time: a deadline that passes later would end the answer.
func (r *reply) hasBody() { _ = r.control.SetReadDeadline(time.Time{}) }

// leaveBody waits a moment for what nobody will read: a connection that is closed over it may take the answer with it, and the library would
// wait for it in the time of the answer.
func (r *reply) leaveBody(body io.Closer) {
	_ = r.control.SetReadDeadline(time.Now().Add(lastWord))
	_ = body.Close()
}

// Write takes the next bytes of an answer.
func (r *reply) Write(p []byte) (int, error) {
	if !r.begun && len(r.held)+len(p) <= heldBytes {
		r.held = append(r.held, p...)
		return len(p), nil
	}
	if !r.begun {
		r.begin(r.code)
		if err := r.send(r.held); err != nil {
			return 0, err
		}
		r.held = nil
	}
	if err := r.send(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// begin sends the header.
func (r *reply) begin(code int) {
	r.begun = true
	h := r.w.Header()
	maps.Copy(h, r.header)
	maps.Copy(h, r.always)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	r.w.WriteHeader(code)
}

// send sends bytes, a piece at a time, of which each may wait for the client.
func (r *reply) send(b []byte) error {
	for len(b) > 0 {
		piece := b[:min(len(b), heldBytes)]
		b = b[len(piece):]
		if err := r.inTime(func() error { _, err := r.w.Write(piece); return err }); err != nil {
			return err
		}
	}
	return nil
}

// inTime gives a write its time. The deadline is taken away behind it: HTTP/2 ends a stream when one passes, whether something waits or not.
func (r *reply) inTime(write func() error) error {
	_ = r.control.SetWriteDeadline(time.Now().Add(r.patience))
	err := write()
	_ = r.control.SetWriteDeadline(time.Time{})
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("nothing of the answer was taken for %s: %w", r.patience, errStalled)
	}
	return err
}

func (r *reply) flush() error { return r.inTime(r.control.Flush) }

// say is an answer of a word.
func (r *reply) say(word string) error {
	r.header.Set("Content-Type", "text/plain; charset=utf-8")
	_, err := io.WriteString(r, word+"\n")
	return err
}

// end ends an answer with err. It reports whether the body must be broken off, because some of it is on its way.
func (r *reply) end(err error) (broken bool) {
	switch {
	case err == nil && r.begun:
		return r.flush() != nil
	case err == nil:
		if r.code != http.StatusNoContent {
			r.header.Set("Content-Length", strconv.Itoa(len(r.held)))
		}
		r.begin(r.code)
		return errors.Join(r.send(r.held), r.flush()) != nil
	case r.begun:
		if r.breakOff != nil && !errors.Is(err, errStalled) {
			_, name, message := httpStatus(err)
			_ = r.send(r.breakOff(name, message))
		}
		_ = r.flush()
		return true
	}
	code, name, message := httpStatus(err)
	r.header = http.Header{"Content-Type": {"application/json"}}
	switch {
	case code == http.StatusUnauthorized:
		r.header["Www-Authenticate"] = []string{"Bearer", `Basic realm="varve: any user, the password is a token", charset="UTF-8"`}
	case retry(code):
		r.header.Set("Retry-After", "1")
	}
	var body []byte
	if r.refuse != nil {
		body = r.refuse(r.header, code, message)
	} else {
		body = append(errorJSON(name, message), '\n')
	}
	r.header.Set("Content-Length", strconv.Itoa(len(body)))
	r.begin(code)
	return errors.Join(r.send(body), r.flush()) != nil
}

// errorJSON is {"error":{"code":"NOT_FOUND","message":"..."}}.
func errorJSON(code, message string) []byte {
	type detail struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	b, _ := json.Marshal(map[string]detail{"error": {code, message}}) // strings always encode
	return b
}
