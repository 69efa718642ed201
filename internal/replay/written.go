package replay

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
)

// ErrNotAnAnswer is returned by RecordWritten, and by executors, for what is not one answer as HTTP/1.1 writes it.
var ErrNotAnAnswer = errors.New("not an HTTP answer")

// laterVersion is how the status line of an answer begins that came over HTTP/2 or 3, as curl writes it.
var laterVersion = regexp.MustCompile(`^HTTP/[23] `)

// chunkLine is what a content begins with that is still in chunks.
var chunkLine = regexp.MustCompile(`^[0-9A-Fa-f]+(;[^\r\n]*)?\r?\n`)

// RecordWritten records an answer that somebody has written down, as curl -i prints it: the status line, the fields, an empty line, and the
// content up to the end of src, whatever Transfer-Encoding says of the way that it came. Interim answers before it are skipped.
//
// The errors wrap ErrNotAnAnswer, with what is wrong, or are those of src and of the recorder. The caller finishes the recorder.
func RecordWritten(rec *Recorder, src io.Reader) error {
	res, in, err := finalHead(bufio.NewReader(src))
	if err != nil {
		return err
	}
	if res.StatusCode == http.StatusSwitchingProtocols || res.StatusCode > 599 {
		return fmt.Errorf("%w: status %d cannot be an outcome", ErrNotAnAnswer, res.StatusCode)
	}
	begins, err := in.Peek(32)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("reading an answer: %w", err)
	}
	switch {
	case len(res.TransferEncoding) > 0 && chunkLine.Match(begins):
		return fmt.Errorf("%w: its content is still in chunks (write it as curl -i does, without --raw)", ErrNotAnAnswer)
	case strings.HasPrefix(string(begins), "HTTP/"):
		return fmt.Errorf("%w: there is more than one", ErrNotAnAnswer)
	case len(begins) > 0 && !begunAs(begins, contentCodings(res.Header)):
		return fmt.Errorf("%w: its content is not coded as Content-Encoding says (write it as curl -i does, without --compressed)", ErrNotAnAnswer)
	}
	for name, values := range res.Header {
		rec.Header()[name] = values
	}
	rec.WriteHeader(res.StatusCode)
	n, err := rec.ReadFrom(in)
	switch {
	case errors.Is(err, http.ErrContentLength):
		return fmt.Errorf("%w: there is more content than Content-Length says, %s bytes", ErrNotAnAnswer, res.Header.Get("Content-Length"))
	case errors.Is(err, http.ErrBodyNotAllowed):
		return fmt.Errorf("%w: %d has no content", ErrNotAnAnswer, res.StatusCode)
	case err != nil:
		return fmt.Errorf("reading an answer: %w", err)
	case rec.declared >= 0 && bodyAllowed(rec.status) && n != rec.declared:
		return fmt.Errorf("%w: there are %d bytes of content, and Content-Length says %d", ErrNotAnAnswer, n, rec.declared)
	}
	return nil
}

// begunAs tells whether content may be what is left by codings, by its first bytes, as far as the last coding has a mark (RFC 1952, RFC 8878).
func begunAs(begins []byte, codings []string) bool {
	if len(codings) == 0 {
		return true
	}
	switch codings[len(codings)-1] {
	case "gzip":
		return bytes.HasPrefix(begins, []byte{0x1f, 0x8b})
	case "zstd":
		return bytes.HasPrefix(begins, []byte{0x28, 0xb5, 0x2f, 0xfd})
	default:
		return true
	}
}

// finalHead reads heads up to the one that is not interim, and returns it with the reader of what follows. Each is read as the answer to a
// HEAD, which leaves the content where it is.
func finalHead(in *bufio.Reader) (*http.Response, *bufio.Reader, error) {
	for {
		if begins, err := in.Peek(len("HTTP/2 ")); err == nil && laterVersion.Match(begins) {
			line, err := in.ReadString('\n')
			if err != nil {
				return nil, nil, fmt.Errorf("%w: the status line has no end", ErrNotAnAnswer)
			}
			in = bufio.NewReader(io.MultiReader(strings.NewReader(laterVersion.ReplaceAllString(line, "HTTP/1.1 ")), in))
		}
		res, err := http.ReadResponse(in, &http.Request{Method: http.MethodHead})
		if err != nil {
			return nil, nil, fmt.Errorf("%w: %w", ErrNotAnAnswer, err)
		}
		if res.StatusCode >= 200 || res.StatusCode == http.StatusSwitchingProtocols {
			return res, in, nil
		}
	}
}
