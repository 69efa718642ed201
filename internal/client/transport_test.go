package client_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/postonce/poe/internal/client"
)

// Over HTTP/2 an empty POST is repeated by http.Transport itself where the stream is reset with PROTOCOL_ERROR, as proxies do that cannot pass on an answer.
func TestHTTP2RepeatsEmptyPOST(t *testing.T) {
	certified := httptest.NewUnstartedServer(nil)
	certified.EnableHTTP2 = true
	certified.StartTLS()
	defer certified.Close()
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: certified.TLS.Certificates, NextProtos: []string{"h2", "http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	var posts, heads atomic.Int32
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				if tc := conn.(*tls.Conn); tc.Handshake() == nil && tc.ConnectionState().NegotiatedProtocol != "h2" {
					if r, err := http.ReadRequest(bufio.NewReader(conn)); err == nil && r.Method == http.MethodPost {
						posts.Add(1) // executed, and the connection is lost
					} else {
						_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
					}
					return
				}
				preface := make([]byte, len(http2.ClientPreface))
				if _, err := io.ReadFull(conn, preface); err != nil {
					return
				}
				fr := http2.NewFramer(conn, conn)
				fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
				_ = fr.WriteSettings()
				for {
					f, err := fr.ReadFrame()
					if err != nil {
						return
					}
					switch f := f.(type) {
					case *http2.SettingsFrame:
						if !f.IsAck() {
							_ = fr.WriteSettingsAck()
						}
					case *http2.MetaHeadersFrame:
						if f.PseudoValue("method") != "POST" { // an ordinary application: no POE-State
							heads.Add(1)
							var b bytes.Buffer
							_ = hpack.NewEncoder(&b).WriteField(hpack.HeaderField{Name: ":status", Value: "200"})
							_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: f.StreamID, BlockFragment: b.Bytes(), EndHeaders: true, EndStream: true})
							continue
						}
						posts.Add(1) // executed
						_ = fr.WriteRSTStream(f.StreamID, http2.ErrCodeProtocol)
					}
				}
			}()
		}
	}()
	roots := certified.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	mine := client.NewTransport().(client.Connecting)
	mine.TLSClientConfig.RootCAs = roots
	c := client.New(client.Config{Transport: mine, Shortest: time.Millisecond, Notice: func(n client.Notice) { t.Log(n) }})
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	_, err = c.Post(ctx, client.PostRequest{URL: "https://" + l.Addr().String() + "/orders?poe=an-ordinary-parameter"})
	t.Log(err)
	if n := posts.Load(); n != 1 {
		t.Errorf("what nobody guards was executed %d times", n)
	}
}
