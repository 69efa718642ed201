package replay

import (
	"errors"
	"fmt"
	"io"
	"net/http"
)

// ReadFrom takes src to its end as a sequence of writes; those of an event stream are flushed one by one.
// The error is that of Write, or src's own.
func (r *Recorder) ReadFrom(src io.Reader) (int64, error) {
	if r.status == 0 {
		r.WriteHeader(http.StatusOK)
	}
	return r.cfg.Spool.copyIn(r.writeChunk, src)
}

func (r *Recorder) writeChunk(p []byte) (int, error) {
	n, err := r.Write(p)
	if err == nil && r.prompt {
		r.flushStream()
	}
	return n, err
}

// Copy takes a whole response: status, fields, content and trailers, as they are; no Content-Type is guessed.
// It reads res.Body to its end and does not close it. Where reading fails the error wraps ErrIncomplete and that error; others are
// the errors of Write. The caller calls Finish after success only.
func (r *Recorder) Copy(res *http.Response) error {
	for name, values := range res.Header {
		r.header[name] = append([]string(nil), values...)
	}
	if _, ok := r.header["Content-Type"]; !ok {
		r.header["Content-Type"] = nil // keeps net/http and sniff from guessing
	}
	for name := range res.Trailer {
		r.header.Add("Trailer", name)
	}
	r.WriteHeader(res.StatusCode)
	src := &source{Reader: res.Body}
	if _, err := r.ReadFrom(src); err != nil {
		if src.err != nil {
			return fmt.Errorf("%w: %w", ErrIncomplete, src.err)
		}
		return err
	}
	r.trailer = res.Trailer.Clone()
	for _, name := range r.trailers {
		delete(r.header, name) // a field of that name is not its trailer
	}
	return nil
}

// source remembers its own failure, to tell it from that of the writer.
type source struct {
	io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		s.err = err
	}
	return n, err
}
