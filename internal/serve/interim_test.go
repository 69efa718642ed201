package serve_test

import (
	"bytes"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/postonce/poe/internal/gateway"
	"github.com/postonce/poe/internal/serve"
)

// A client of HTTP/2 resets its streams while interim answers are written to it. Nobody may change fields then that net/http still reads: two in one map
// end the process, and everything that is under way there is of unknown outcome. The race detector finds it in the first streams.
func TestResetDuringInterim(t *testing.T) {
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for i := range 100 {
			w.Header().Set("Link", "</style.css>; rel=preload; n="+strconv.Itoa(i))
			w.WriteHeader(http.StatusEarlyHints)
		}
		w.WriteHeader(http.StatusCreated)
	}))
	defer app.Close()
	upstream, err := url.Parse(app.URL)
	if err != nil {
		t.Fatal(err)
	}
	for name, method := range map[string]string{"executed": http.MethodPost, "passed through": http.MethodGet} {
		t.Run(name, func(t *testing.T) {
			hop, err := gateway.New(gateway.Config{Upstream: upstream})
			if err != nil {
				t.Fatal(err)
			}
			defer hop.Close()
			gate, _ := lone(t, t.TempDir())
			front := httptest.NewUnstartedServer(nil)
			front.Config = serve.Front(gate, hop)
			front.Start()
			defer front.Close()
			var all sync.WaitGroup
			for i := range 4 {
				all.Go(func() {
					if err := resets(front.Listener.Addr().String(), method, strconv.Itoa(i), 60); err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
		})
	}
}

// resets opens streams along one connection, and resets each with its first answer.
func resets(addr, method, key string, streams int) error {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	if err := errors.Join(c.SetDeadline(time.Now().Add(time.Minute)), second(c.Write([]byte(http2.ClientPreface)))); err != nil {
		return err
	}
	f := http2.NewFramer(c, c)
	if err := f.WriteSettings(); err != nil {
		return err
	}
	var head bytes.Buffer
	enc := hpack.NewEncoder(&head)
	for i := range streams {
		id := uint32(2*i + 1)
		head.Reset()
		for _, field := range [][2]string{{":method", method}, {":scheme", "http"}, {":authority", "a"}, {":path", "/"}, {"idempotency-key", key + "-" + strconv.Itoa(i)}} {
			if err := enc.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]}); err != nil {
				return err
			}
		}
		if err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: head.Bytes(), EndStream: true, EndHeaders: true}); err != nil {
			return err
		}
		for answered := false; !answered; {
			frame, err := f.ReadFrame()
			if err != nil {
				return err
			}
			switch frame := frame.(type) {
			case *http2.SettingsFrame:
				if !frame.IsAck() {
					err = f.WriteSettingsAck()
				}
			case *http2.HeadersFrame:
				answered = frame.StreamID == id
			}
			if err != nil {
				return err
			}
		}
		if err := f.WriteRSTStream(id, http2.ErrCodeCancel); err != nil {
			return err
		}
	}
	return nil
}

func second[T any](_ T, err error) error { return err }
