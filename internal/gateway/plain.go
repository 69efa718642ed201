package gateway

import (
	"bufio"
	"io"
	"net/http"

	"github.com/postonce/poe/internal/plain"
)

// plainAnswer reads the head of a final answer of HTTP/1.1 that has arrived as a whole and says how long its content is, in a way that nobody reads differently. Of every
// other nothing was read, and resp is nil: net/http knows them all.
func plainAnswer(in *bufio.Reader) (resp *http.Response) {
	b, _ := in.Peek(in.Buffered()) // it is there
	line, fields, head, ok := plain.Cut(b)
	if !ok {
		return nil
	}
	status := plainStatus(line)
	if status < http.StatusOK || status == http.StatusNoContent || status == http.StatusNotModified {
		return nil
	}
	a := new(answer)
	length := int64(-1)
	header, ok := plain.Fields(fields, &a.values, func(name, value string) plain.Use {
		switch name {
		case "Content-Length":
			n, known := plain.Length(value)
			if !known || length >= 0 {
				return plain.Refuse
			}
			length = n
		case "Transfer-Encoding", "Connection", "Trailer", "Upgrade", "Pragma":
			return plain.Refuse
		}
		return plain.Keep
	})
	if !ok || length < 0 {
		return nil
	}
	_, _ = in.Discard(head) // it was there
	a.content = content{in: in, left: length}
	a.response = http.Response{StatusCode: status, ProtoMajor: 1, ProtoMinor: 1, Header: header, ContentLength: length, Body: &a.content}
	return &a.response
}

// An answer has what belongs to it in one piece.
type answer struct {
	response http.Response
	content  content
	values   plain.Room
}

// plainStatus reads a status line (RFC 9112, section 4); 0: it is not plain.
func plainStatus(line string) int {
	const version, digits = "HTTP/1.1 ", 3
	if len(line) <= len(version)+digits || line[:len(version)] != version || line[len(version)+digits] != ' ' || !plain.Printable(line) {
		return 0
	}
	status := 0
	for _, c := range []byte(line[len(version) : len(version)+digits]) {
		if c < '0' || c > '9' {
			return 0
		}
		status = 10*status + int(c-'0')
	}
	return status
}

// A content is that of an answer whose length is known.
type content struct {
	in   io.Reader
	left int64
}

// Read implements io.Reader.
func (c *content) Read(p []byte) (int, error) {
	if c.left == 0 {
		return 0, io.EOF
	}
	n, err := c.in.Read(p[:min(int64(len(p)), c.left)])
	switch c.left -= int64(n); {
	case c.left == 0:
		err = io.EOF
	case err == io.EOF:
		err = io.ErrUnexpectedEOF
	}
	return n, err //nolint:wrapcheck // as it came
}

// Close implements io.Closer.
func (c *content) Close() error { return nil }
