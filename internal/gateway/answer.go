package gateway

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/postonce/poe/internal/replay"
)

// copySize is how much of an answer is copied at a time, in bytes.
const copySize = 32 << 10

var (
	errMalformed   = fmt.Errorf("%w: it is not HTTP/1", replay.ErrNotAnAnswer)
	errFramedTwice = fmt.Errorf("%w: it is of HTTP/1.0 and has a Transfer-Encoding, where it ends is not known", replay.ErrNotAnAnswer)
	errSwitched    = fmt.Errorf("%w: the upstream switched protocols unasked", replay.ErrNotAnAnswer)
)

// A recorder is what an answer is written to: a *replay.Recorder.
type recorder interface {
	http.ResponseWriter
	http.Flusher
	WriteHead(status int, h http.Header)
}

// receive reads the answer to its end into the recorder. It tells whether the connection is used up by it, and whether it refuses the request.
func (x *exchange) receive() (last, refused bool, err error) {
	resp, err := x.finalHead()
	if err != nil {
		return true, false, fmt.Errorf("reading the answer's head: %w", err)
	}
	x.conn.headRead()
	// Content that there cannot be may follow all the same. A 304 has the length of what it stands for.
	odd := resp.StatusCode == http.StatusNoContent && !slices.Contains([]string{"", "0"}, resp.Header.Get("Content-Length")) ||
		(resp.StatusCode == http.StatusNoContent || resp.StatusCode == http.StatusNotModified) && len(resp.TransferEncoding) > 0
	x.open = resp.ContentLength < 0 && len(resp.TransferEncoding) == 0
	declared := x.writeHead(resp)
	if err := x.copyBody(resp); err != nil {
		if x.conn.failure == nil { // as headError has it
			err = errMalformed
		}
		return true, false, fmt.Errorf("reading the answer's body: %w", err)
	}
	h := x.answer.Header()
	for name, values := range replay.EndToEnd(resp.Trailer) {
		if !declared[name] {
			name = http.TrailerPrefix + name
		}
		h[name] = values
	}
	return odd || resp.Close || !resp.ProtoAtLeast(1, 1), resp.StatusCode >= http.StatusBadRequest, nil
}

// finalHead reads heads up to the final one and hands the informational ones on. An application that works for long may send as many as it likes, within headLimit.
func (x *exchange) finalHead() (*http.Response, error) {
	for {
		switch twice, err := x.conn.framedTwice(); {
		case err != nil:
			return nil, x.headError()
		case twice:
			return nil, errFramedTwice
		}
		if resp := plainAnswer(x.conn.reader); resp != nil {
			return resp, nil
		}
		resp, err := http.ReadResponse(x.conn.reader, nil)
		switch {
		case err != nil:
			return nil, x.headError()
		case resp.ProtoMajor != 1 || resp.StatusCode < 100:
			return nil, errMalformed
		case blankFraming(resp.Header):
			return nil, errMalformed
		case resp.StatusCode == http.StatusSwitchingProtocols:
			return nil, errSwitched
		}
		x.conn.restoreConnection(resp)
		if resp.StatusCode >= 200 {
			return resp, nil
		}
		x.inform(resp)
	}
}

// blankFraming tells whether a field that says where the answer ends has a blank before its colon: net/http keeps it under that name and does not go by it.
func blankFraming(h http.Header) bool {
	for name := range h {
		if n := strings.TrimRight(name, " "); n != name && (strings.EqualFold(n, "Transfer-Encoding") || strings.EqualFold(n, "Content-Length")) {
			return true
		}
	}
	return false
}

// headError tells trouble of the connection from an answer that makes no sense. What net/http says of the latter quotes it, and
// answers belong in no log.
func (x *exchange) headError() error {
	switch {
	case x.conn.failure == nil:
		return errMalformed
	case errors.Is(x.conn.failure, io.EOF):
		return io.ErrUnexpectedEOF // wherever it was cut
	default:
		return x.conn.failure
	}
}

// inform hands on an informational answer, and leaves none of its fields behind for the final one.
func (x *exchange) inform(resp *http.Response) {
	h := x.answer.Header()
	for name, values := range replay.EndToEnd(resp.Header) {
		h[name] = values
	}
	x.answer.WriteHeader(resp.StatusCode)
	clear(h)
}

// writeHead gives the recorder the head of the final answer, fields and all, and returns the names of the trailers it announces.
func (x *exchange) writeHead(resp *http.Response) (declared map[string]bool) {
	h := resp.Header
	if _, ok := h["Content-Type"]; !ok {
		h["Content-Type"] = nil // the application gave none, and none is to be guessed
	}
	if len(resp.Trailer) > 0 {
		declared = make(map[string]bool, len(resp.Trailer))
	}
	for name := range resp.Trailer {
		declared[name] = true
		h.Add("Trailer", name)
	}
	x.answer.WriteHead(resp.StatusCode, h)
	return declared
}

// copyBody reads the body to its end. A recorder that takes no more does not stop it: whether the answer is
// complete is the upstream's to show.
func (x *exchange) copyBody(resp *http.Response) error {
	buf := x.gateway.copies.Get().(*[copySize]byte)
	defer x.gateway.copies.Put(buf)
	open, taken := resp.ContentLength < 0, true
	for {
		n, err := resp.Body.Read(buf[:])
		if n > 0 && taken {
			_, lost := x.answer.Write(buf[:n])
			taken = lost == nil
		}
		if n > 0 && taken && open {
			x.answer.Flush() // it may be one that is passed through, and the next piece may take its time
		}
		if err == io.EOF { // a wrapped one would be a failure
			return nil
		}
		if err != nil {
			return err
		}
	}
}
