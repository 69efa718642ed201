package serve_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/postonce/poe/internal/serve"
)

// secret is a token for the admin listener.
const secret = "c2VjcmV0IHRva2VuIG9mIHRoZSBhZG1pbiBsaXN0ZW5lcg=="

func tokenFile(t *testing.T, content string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "admin.token")
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// What other machines can reach is not served without a token, whatever the address looks like.
func TestOpenAdminIsRefused(t *testing.T) {
	app := httptest.NewServer(http.NotFoundHandler())
	defer app.Close()
	for address, open := range map[string]bool{
		"0.0.0.0:0": true, ":0": true, "[::]:0": true, "127.0.0.1:0": false, "127.0.0.2:0": false, "localhost:0": false,
	} {
		t.Run(address, func(t *testing.T) {
			cfg := config(t, app.URL)
			cfg.Admin = address
			if err := cfg.Check(); (err != nil) != open {
				t.Errorf("the configuration: %v", err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			err := serve.Run(ctx, cfg, serve.Options{Log: zerolog.Nop(), Ready: func(serve.Addresses) { cancel() }})
			if errors.As(err, new(*serve.OpenAdminError)) != open {
				t.Errorf("the server: %v", err)
			}
		})
	}
}

// Everything on the admin listener but the two questions of health needs the token, if there is one.
func TestAdminToken(t *testing.T) {
	var log bytes.Buffer
	app := httptest.NewServer(http.NotFoundHandler())
	defer app.Close()
	for _, address := range []string{"0.0.0.0:0", "127.0.0.1:0"} {
		cfg := config(t, app.URL)
		cfg.Admin, cfg.AdminTokenFile = address, tokenFile(t, secret+"\n", 0o600)
		s := runLogging(t, cfg, &log)
		for _, path := range []string{"/healthz", "/readyz"} {
			if res, _ := get(t, s.at.Admin+path); res.StatusCode != 200 {
				t.Errorf("%s: %d", path, res.StatusCode)
			}
		}
		const id = "0193e1f0-0000-7000-8000-000000000000"
		for _, path := range []string{
			"GET /metrics", "GET /actions", "GET /actions/" + id, "POST /actions/" + id + "/resolve", "POST /actions/" + id + "/release",
			"POST /actions/" + id + "/burn", "POST /actions/" + id + "/free", "GET /callbacks", "GET /debug/pprof/heap", "POST /callbacks/" + id + "/retry", "GET /", "GET //metrics", "GET /healthz/x",
		} {
			method, path, _ := strings.Cut(path, " ")
			for name, fields := range map[string][]string{
				"none": nil, "another": {"Authorization: Bearer " + strings.Repeat("x", len(secret))}, "a part": {"Authorization: Bearer " + secret[:40]}, "more": {"Authorization: Bearer " + secret + "x"},
				"empty": {"Authorization: Bearer "}, "no scheme": {"Authorization: " + secret}, "another scheme": {"Authorization: Basic " + secret},
				"two": {"Authorization: Bearer " + secret, "Authorization: Bearer x"}, "in the query": nil,
			} {
				url := s.at.Admin + path
				if name == "in the query" {
					url += "?access_token=" + secret
				}
				res, body := do(t, method, url, "", fields...)
				if res.StatusCode != 401 || res.Header.Get("WWW-Authenticate") != `Bearer realm="poe admin"` || strings.Contains(body, secret) {
					t.Errorf("%s %s with %s: %d %s", method, path, name, res.StatusCode, body)
				}
			}
		}
		for _, scheme := range []string{"Bearer", "bearer", "BEARER"} {
			res, body := get(t, s.at.Admin+"/metrics", "Authorization: "+scheme+" "+secret, "Host: metrics.example.com")
			if res.StatusCode != 200 || strings.Contains(body, secret) {
				t.Errorf("with the token: %d", res.StatusCode)
			}
		}
		if res, _ := do(t, "POST", s.at.Admin+"/actions/"+id+"/burn", "reason=x", "Authorization: Bearer "+secret, "Sec-Fetch-Site: cross-site"); res.StatusCode != 403 {
			t.Errorf("a page of another site: %d", res.StatusCode)
		}
	}
	if strings.Contains(log.String(), secret) || log.Len() == 0 {
		t.Errorf("the log: %s", &log)
	}
}

// What the program spends its time on is there for who may ask, and its command line is not.
func TestProfiles(t *testing.T) {
	app := httptest.NewServer(http.NotFoundHandler())
	defer app.Close()
	s := runLogging(t, config(t, app.URL), io.Discard)
	for _, path := range []string{"heap", "allocs", "mutex", "block", "goroutine", "profile?seconds=1", "trace?seconds=1"} {
		if res, body := get(t, s.at.Admin+"/debug/pprof/"+path); res.StatusCode != 200 || len(body) < 50 {
			t.Errorf("%s: %d, %d bytes", path, res.StatusCode, len(body))
		}
	}
	if res, body := get(t, s.at.Admin+"/debug/pprof/cmdline"); res.StatusCode != 404 {
		t.Errorf("the command line: %d %s", res.StatusCode, body)
	}
	if res, _ := get(t, s.at.URL+"/debug/pprof/heap"); res.StatusCode != 404 {
		t.Errorf("on the public listener: %d", res.StatusCode)
	}
}

// runLogging is run with a log.
func runLogging(t *testing.T, cfg serve.Config, log io.Writer) *running {
	t.Helper()
	return runWith(t, cfg, serve.Options{Log: zerolog.New(log).Level(zerolog.TraceLevel)})
}

// Without a token the listener is for this machine, by a name that nobody else can give it.
func TestAdminOnLoopback(t *testing.T) {
	app := httptest.NewServer(http.NotFoundHandler())
	defer app.Close()
	s := run(t, config(t, app.URL))
	for host, want := range map[string]int{
		"": 200, "localhost": 200, "LOCALHOST:8081": 200, "127.0.0.1": 200, "127.9.9.9:1": 200, "[::1]:80": 200, "[::1]": 200,
		"evil.example": 403, "localhost.evil.example": 403, "10.0.0.1": 403, "0.0.0.0": 403, "127.0.0.1.nip.io:8081": 403, "169.254.169.254": 403,
	} {
		for _, path := range []string{"/actions", "/metrics", "/callbacks"} {
			r, err := http.NewRequestWithContext(t.Context(), "GET", s.at.Admin+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Host = host
			res, err := http.DefaultTransport.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			_ = res.Body.Close()
			if res.StatusCode != want {
				t.Errorf("%s as %q: %d", path, host, res.StatusCode)
			}
		}
	}
	for _, field := range []string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-site", "Origin: http://evil.example"} {
		if res, _ := do(t, "POST", s.at.Admin+"/actions/x/burn", "", field); res.StatusCode != 403 {
			t.Errorf("%s: %d", field, res.StatusCode)
		}
		for _, path := range []string{"/actions", "/metrics", "/callbacks", "/debug/pprof/trace?seconds=0.01"} {
			if res, _ := get(t, s.at.Admin+path, field); res.StatusCode != 403 {
				t.Errorf("%s for a page, %s: %d", path, field, res.StatusCode)
			}
		}
	}
	if res, _ := get(t, s.at.Admin+"/metrics", "Sec-Fetch-Site: none"); res.StatusCode != 200 {
		t.Errorf("for a person: %d", res.StatusCode)
	}
}

func TestTokenFiles(t *testing.T) {
	for name, tc := range map[string]struct{ content, says string }{
		"empty": {"", "one line of at least 32"}, "short": {"0123456789012345678901234567890\n", "one line of at least 32"},
		"two lines": {secret + "\n" + secret + "\n", "one line"}, "spaces": {secret + " " + secret, "without spaces"}, "not ASCII": {secret + "ä", "visible"},
		"huge": {strings.Repeat("x", 5000), "more than 4096 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := serve.ReadAdminToken(tokenFile(t, tc.content, 0o600))
			if err == nil || !strings.Contains(err.Error(), tc.says) || strings.Contains(err.Error(), "0123456789") || strings.Contains(err.Error(), secret) {
				t.Errorf("got %v", err)
			}
		})
	}
	var hint interface{ Hint() string }
	if _, err := serve.ReadAdminToken("nowhere/a b"); !errors.Is(err, os.ErrNotExist) || !errors.As(err, &hint) || !strings.Contains(hint.Hint(), "head -c 32 /dev/urandom | base64 >'nowhere/a b'") {
		t.Errorf("none: %v, %v", err, hint)
	}
	path := tokenFile(t, secret, 0o600)
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := serve.ReadAdminToken(path); err == nil || !errors.As(err, &hint) || hint.Hint() != "chmod 600 "+path {
		t.Errorf("others can read it: %v", err)
	}
	if got, err := serve.ReadAdminToken(tokenFile(t, secret+"\r\n", 0o400)); err != nil || got != secret {
		t.Errorf("a good one: %v", err)
	}
}

// form is what curl -F sends.
func form(t *testing.T, file string, fields ...string) (body, contentType string) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for _, f := range fields {
		name, value, _ := strings.Cut(f, "=")
		if err := w.WriteField(name, value); err != nil {
			t.Fatal(err)
		}
	}
	if file != "" {
		part, err := w.CreateFormFile("response", "response.http")
		if err == nil {
			_, err = io.WriteString(part, file)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String(), "Content-Type: " + w.FormDataContentType()
}

// What a person decides over the admin listener is what clients get.
func TestDecideOverHTTP(t *testing.T) {
	app := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	defer app.Close()
	cfg := config(t, app.URL)
	cfg.MaxResponse, cfg.MaxBody = 200_000, 1000
	s := run(t, cfg)
	lost := func() (uri, id string) {
		uri = mint(t, s.at.URL, "/orders")
		res, body := do(t, "POST", uri, "x")
		var p struct{ State string }
		if err := json.Unmarshal([]byte(body), &p); err != nil || p.State != "unknown" {
			t.Fatalf("%d %s", res.StatusCode, body)
		}
		_, id, _ = strings.Cut(res.Header.Get("POE-State"), `id="`)
		id, _, _ = strings.Cut(id, `"`)
		return uri, id
	}
	const plain = "Content-Type: application/x-www-form-urlencoded"
	answer := "HTTP/1.1 201 Created\r\nContent-Type: text/plain\r\n\r\n" + strings.Repeat("x", 150_000)

	uri, id := lost()
	at := s.at.Admin + "/actions/" + id
	res, body := get(t, s.at.Admin+"/actions?state=unknown&newer=1h&limit=1")
	if res.StatusCode != 200 || !strings.Contains(body, `"id":"`+id+`"`) || res.Header.Get("Content-Type") != "application/json" {
		t.Errorf("the list: %d %s", res.StatusCode, body)
	}
	var seen struct{ Version string }
	if res, body := get(t, at); res.StatusCode != 200 || json.Unmarshal([]byte(body), &seen) != nil || len(seen.Version) != 16 {
		t.Errorf("the action: %d %s", res.StatusCode, body)
	}
	file, kind := form(t, answer, "as=done", "reason=looked", "by=ada", "version="+seen.Version)
	twice, twiceKind := form(t, "HTTP/1.1 201 Created\r\n\r\n", "as=done", "reason=looked")
	begins := strings.LastIndex(twice[:strings.Index(twice, `name="response"`)], "--")
	twice = twice[:strings.LastIndex(twice, "\r\n--")] + "\r\n" + twice[begins:]
	broken, brokenKind := form(t, "no answer", "as=done", "reason=looked")
	large, largeKind := form(t, answer+strings.Repeat("x", 50_001), "as=done", "reason=looked")
	huge, hugeKind := form(t, answer+strings.Repeat("x", 500_000), "as=done", "reason=looked")
	for _, bad := range []struct {
		code             int
		path, body, kind string
		says             string
	}{
		{400, "/resolve", "as=done&reason=x", plain, "the response is missing"},
		{400, "/resolve", "as=burned&reason=x", plain, "not resolved"},
		{400, "/resolve", "reason=x", plain, "is none of done"},
		{400, "/resolve", "as=failed&reason=x&status=many", plain, `"many" is not a number`},
		{400, "/resolve", "as=failed&reason=x&status=200", plain, "200 is no failure"},
		{400, "/release", "", plain, "a reason is missing"},
		{400, "/release?reason=x", "", plain, `the query has "reason", and nothing is known here`},
		{400, "/release", "reason=x&seen=0000000000000000", plain, `the form has "seen", and known here are reason, by, version`},
		{400, "/burn", "reason=x&as=done", plain, `the form has "as", and known here are reason, by, version`},
		{400, "/resolve", "as=failed&as=unused&reason=x", plain, "the form has as 2 times"},
		{400, "/resolve", twice, twiceKind, "the form's files has response 2 times"},
		{400, "/burn", "reason=%20", plain, "a reason is missing"},
		{400, "/burn", "x", "Content-Type: multipart/form-data", "reading the form"},
		{400, "/resolve", broken, brokenKind, "malformed"},
		{413, "/resolve", large, largeKind, "200001 bytes, and 200000 are kept"},
		{413, "/resolve", huge, hugeKind, "too large"},
		{409, "/release", "reason=x&version=0000000000000000", plain, "it has changed since you looked: it is unknown"},
	} {
		if res, body := do(t, "POST", at+bad.path, bad.body, bad.kind); res.StatusCode != bad.code || !strings.Contains(body, bad.says) {
			t.Errorf("%s %.40q: %d %s", bad.path, bad.body, res.StatusCode, body)
		}
	}
	for _, path := range []string{"/actions?state=asleep", "/actions?older=1", "/actions?newer=-1h", "/actions?limit=0", "/actions?limit=x", "/actions?limit=1001", "/actions?after=x"} {
		if res, body := get(t, s.at.Admin+path); res.StatusCode != 400 {
			t.Errorf("%s: %d %s", path, res.StatusCode, body)
		}
	}
	if res, body := do(t, "POST", at+"/resolve", file, kind); res.StatusCode != 200 || !strings.Contains(body, `"state":"done"`) || !strings.Contains(body, `"who":"operator:ada","why":"looked","status":201`) {
		t.Fatalf("%d %s", res.StatusCode, body)
	}
	if res, body := get(t, uri); res.StatusCode != 200 || len(body) != 150_000 {
		t.Errorf("the outcome: %d with %d bytes", res.StatusCode, len(body))
	}
	if res, body := do(t, "POST", at+"/burn", "reason=x", plain); res.StatusCode != 409 || res.Header.Get("POE-State") != "done" || !strings.Contains(body, "it is done, with status 201 Created") {
		t.Errorf("deciding again: %d %v %s", res.StatusCode, res.Header, body)
	}
	for path, code := range map[string]int{"/release": 502, "/burn": 410} { // executed, and lost again; and not executed
		uri, id := lost()
		if res, body := do(t, "POST", s.at.Admin+"/actions/"+id+path, "reason=x", plain); res.StatusCode != 200 {
			t.Errorf("%s: %d %s", path, res.StatusCode, body)
		}
		if res, _ := do(t, "POST", uri, "x"); res.StatusCode != code {
			t.Errorf("after %s: %d", path, res.StatusCode)
		}
	}
	if res, _ := get(t, s.at.Admin+"/actions/nonsense"); res.StatusCode != 404 {
		t.Errorf("no id: %d", res.StatusCode)
	}
}

// A parameter that nobody knows, or that is there twice, is refused and named: a filter that is misspelt would show everything, and a script would decide about it.
func TestAdminKnowsItsParameters(t *testing.T) {
	app := httptest.NewServer(http.NotFoundHandler())
	defer app.Close()
	s := run(t, config(t, app.URL))
	folder := filepath.Join(t.TempDir(), "backup")
	const list = "known here are state, route, older, newer, limit, after"
	for request, says := range map[string]string{
		"GET /actions?stat=unknown":                 `the query has "stat", and ` + list,
		"GET /actions?State=unknown":                `the query has "State", and ` + list,
		"GET /actions?limit=1&=unknown":             `the query has "", and ` + list,
		"GET /actions?state=unknown&state=done":     "the query has state 2 times",
		"GET /actions?state=unknown;route=orders":   "reading the query: ",
		"GET /actions?state=%zz":                    "reading the query: ",
		"GET /actions/nonsense?state=unknown":       `the query has "state", and nothing is known here`,
		"GET /callbacks?limit=1":                    `the query has "limit", and nothing is known here`,
		"POST /actions/nonsense/free?x":             `the query has "x", and nothing is known here`,
		"POST /callbacks/nonsense/retry?x":          `the query has "x", and nothing is known here`,
		"POST /clock/confirm?x":                     `the query has "x", and nothing is known here`,
		"POST /backup?dir=" + folder + "&leger=/b":  `the query has "leger", and known here are dir, ledger`,
		"POST /backup?dir=" + folder + "&dir=/else": "the query has dir 2 times",
	} {
		method, path, _ := strings.Cut(request, " ")
		if res, body := do(t, method, s.at.Admin+path, ""); res.StatusCode != 400 || !strings.Contains(body, says) {
			t.Errorf("%s: %d %s", request, res.StatusCode, body)
		}
	}
	for _, path := range []string{"/actions?", "/actions?state=&route=&limit=", "/actions?state=unknown&route=orders&older=1h&newer=2h&limit=5&after="} {
		if res, body := get(t, s.at.Admin+path); res.StatusCode != 200 {
			t.Errorf("%s: %d %s", path, res.StatusCode, body)
		}
	}
}

// A temporary folder that is gone, or full, is said where operators look: all that clients see is a 503, and an answer that is not kept.
func TestReadyzNamesTheTemporaryFolder(t *testing.T) {
	tmp := filepath.Join(t.TempDir(), "tmp")
	if err := os.Mkdir(tmp, 0o700); err != nil {
		t.Fatal(err)
	}
	app := httptest.NewServer(http.NotFoundHandler())
	defer app.Close()
	cfg := config(t, app.URL)
	t.Setenv("TMPDIR", tmp)
	s := run(t, cfg)
	if err := os.Remove(tmp); err != nil {
		t.Fatal(err)
	}
	if res, body := do(t, "POST", s.at.URL+"/orders", strings.Repeat("y", 300_000), "Idempotency-Key: large"); res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a large request: %d %s", res.StatusCode, body)
	}
	res, body := get(t, s.at.Admin+"/readyz")
	if res.StatusCode != http.StatusOK || !strings.Contains(body, "the temporary folder did not take the last large body") || !strings.Contains(body, "no such file or directory") {
		t.Errorf("/readyz: %d %s", res.StatusCode, body)
	}
}
