package core

import (
	"context"
	"mime/multipart"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/postonce/poe/internal/replay"
	"github.com/postonce/poe/internal/store"
)

// actionKey and executionKey are the keys of what the engine puts into an execution's context.
type (
	actionKey    struct{}
	executionKey struct{}
)

// An execution is the context of one: it carries the action's id, and the client's request for an executor in this
// process, since routers keep path variables in it that nothing else carries.
type execution struct {
	context.Context //nolint:containedctx // it is one
	gate            *Gate
	id              store.ID
	client          *call // whose client waits; nil: nobody does

	// By what the request that is executed is told from all others under this context, which a handler makes. In process only.
	method, target string                // as the handler gets them
	key            string                // likewise, in Idempotency-Key
	values         [forwardedMost]string // room for what it is told about us
	ended          atomic.Bool           // what comes now is of somebody whom the handler has left behind
	mu             sync.Mutex
	through        []*entrance       // the Onces that it has come through, the first of which may be its client's; guarded by mu
	forms          []*multipart.Form // that copies of it have got on the way; guarded by mu
}

// An entrance is a Once, as far as somebody comes through it.
type entrance struct{ _ byte } // of a size, or all might be at one address

// announce says which request is executed.
func (e *execution) announce(r *http.Request) {
	e.method, e.target, e.key = r.Method, r.RequestURI, strings.Join(r.Header["Idempotency-Key"], ",")
}

// An arrival is what a request under the context of an execution is to a Once.
type arrival int

const (
	another arrival = iota // one that a handler has made
	itself                 // the one that is executed
	twice                  // that one, which has been here before
)

// arrives tells what r is at a Once. The request that is executed has the action's own POE-Id, method and path, and comes through each Once one time, be it
// as a copy. One that no client waits for comes through what is in front of the program's first Once, which may have made another path of it. What has another
// path and another key is a handler's, which has copied its own request for it.
func (e *execution) arrives(r *http.Request, at *entrance) arrival {
	if e.ended.Load() { // it may be said to be not done, and executed again
		return another
	}
	if ids := r.Header["Poe-Id"]; len(ids) != 1 || r.Method != e.method || ids[0] != e.id.String() {
		return another
	}
	key := r.Header["Idempotency-Key"]
	otherKey := len(key) > 0 && strings.Join(key, ",") != e.key // it is never without one, but what is on its way may take it away
	asked, _ := targetPath(e.target)
	e.mu.Lock()
	defer e.mu.Unlock()
	been := slices.Contains(e.through, at)
	switch {
	case otherKey && r.URL.Path != asked: // at its own path something on its way may have changed the key
		return another
	case len(e.through) > 0 && !withinPath(e.target, r.URL.Path):
		return another
	case been:
		return twice
	default:
		e.through = append(e.through, at)
		return itself
	}
}

// withinPath tells whether path is that of the target, or what is left of it without a prefix (http.StripPrefix).
func withinPath(target, path string) bool {
	asked, ok := targetPath(target)
	return ok && strings.HasSuffix(asked, path) && (path == "" || path[0] == '/')
}

// Value returns what is under key here, or in what was there before.
func (e *execution) Value(key any) any {
	switch key.(type) {
	case actionKey:
		return e.id
	case executionKey:
		return e
	}
	v := e.Context.Value(key)
	if v == nil && key == http.ServerContextKey { // httputil.ReverseProxy takes half an answer for a whole one where there is none
		return noServer
	}
	return v
}

// noServer stands for the server where no client's request came through one.
var noServer = new(http.Server)

// ActionID returns the id of the action that is being executed under ctx, and whether there is one.
func ActionID(ctx context.Context) (store.ID, bool) {
	id, ok := ctx.Value(actionKey{}).(store.ID)
	return id, ok
}

// HandlerExecutor executes requests with a handler in this process. It can never say that nothing was sent: once the
// handler was called, only a complete answer is proof.
type HandlerExecutor struct{ Handler http.Handler }

// Execute calls the handler and returns Complete when the handler has returned, unless its context had ended and it has written nothing: one that
// gives up says no more than that, and nobody knows what it had begun. A panic goes on up.
func (e HandlerExecutor) Execute(ctx context.Context, q *replay.Request, rec *replay.Recorder) (replay.Proof, error) {
	r, err := inProcess(ctx, q)
	if err != nil {
		return replay.Unsent, err
	}
	defer removeFiles(r, r.MultipartForm)
	defer removeCopied(ctx)
	e.Handler.ServeHTTP(rec, r)
	if rec.Status() == 0 && ctx.Err() != nil {
		return replay.Broken, context.Cause(ctx)
	}
	return replay.Complete, nil
}

// removeFiles deletes what the handler's form holds on the disk, as a server does for its own request. Somebody in front of us may have parsed one: that is
// not ours.
func removeFiles(r *http.Request, theirs *multipart.Form) {
	if f := r.MultipartForm; f != nil && f != theirs {
		_ = f.RemoveAll() // a handler may have moved a file away
	}
}

// removeCopied does the same for what noteForm has noted.
func removeCopied(ctx context.Context) {
	if e, ok := ctx.Value(executionKey{}).(*execution); ok {
		e.mu.Lock()
		defer e.mu.Unlock()
		for _, f := range e.forms {
			_ = f.RemoveAll() // as above
		}
	}
}

// noteForm notes a form that r, a copy of the request that is executed, has got since it had theirs. It is there until the handler has ended.
func noteForm(r *http.Request, theirs *multipart.Form) {
	e, ok := r.Context().Value(executionKey{}).(*execution)
	if f := r.MultipartForm; ok && f != nil && f != theirs {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.forms = append(e.forms, f)
	}
}

// inProcess makes the request that a handler sees: what the client sent, without our parameter, with its whole body, and
// with a context that outlives the client.
func inProcess(ctx context.Context, q *replay.Request) (*http.Request, error) {
	var r *http.Request
	e, ok := ctx.Value(executionKey{}).(*execution)
	if ok && e.client != nil {
		r = e.client.inbound(ctx)
	} else {
		u, err := url.ParseRequestURI(q.Target)
		if err != nil {
			return nil, err
		}
		r = (&http.Request{
			Method: q.Method, URL: u, RequestURI: q.Target, Host: q.Host, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
			RemoteAddr: q.RemoteAddr, TLS: q.TLS,
		}).WithContext(ctx)
	}
	r.Header = q.Header
	var values []string
	if ok {
		values = e.values[:0]
	}
	for i, f := range q.Forward {
		values = append(values, f.Value)
		r.Header[canonical(f.Name)] = values[i : i+1 : i+1]
	}
	if ok {
		e.announce(r)
	}
	r.Trailer = q.Trailer
	r.TransferEncoding = nil
	r.ContentLength = q.Body.Size()
	r.Body = http.NoBody
	if r.ContentLength > 0 {
		r.Body = q.Body.LastReader()
	}
	return r, nil
}

// canonical is http.CanonicalHeaderKey, which needs room for a name that is spelled otherwise, as ours is on the wire.
func canonical(name string) string {
	if name == "POE-Id" {
		return "Poe-Id"
	}
	return http.CanonicalHeaderKey(name)
}
