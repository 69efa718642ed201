package core

import (
	"bytes"
	"cmp"
	"embed"
	"html/template"
	"iter"
	"net/http"
	"strconv"
	"strings"

	"github.com/postonce/poe/internal/accept"
)

// The forms that answers have, by what is preferred where the client has not said.
var (
	mintForms    = accept.Offer("application/json", "text/plain", "text/html")
	pageForms    = accept.Offer("text/html", "application/json", "application/problem+json")
	problemForms = accept.Offer("application/json", "application/problem+json", "text/html")
)

//go:embed pages/*.html
var pageFiles embed.FS

var pages = template.Must(template.New("").Funcs(template.FuncMap{"href": href}).ParseFS(pageFiles, "pages/*.html"))

// href is the attribute of a link to a POE URI. A template encodes parentheses and apostrophes in it, and then it is another target than the one that was signed.
func href(uri string) template.HTMLAttr {
	return template.HTMLAttr(`href="` + template.HTMLEscapeString(uri) + `"`) //nolint:gosec // it is escaped, and a path (validTarget)
}

// What the pages are made from.
type (
	problemPage struct {
		Problem *problem
		Title   string
		Help    string
		Receipt string
	}
	statePage struct {
		Doc     stateDocument
		Phase   string
		Here    bool // it is at the address that can be used, and not at the outcome's
		Receipt string
	}
	newPage struct {
		Method string
		Target string
		One    bool
		URIs   iter.Seq[Minted]
	}
)

// pagePolicy keeps a page of ours out of frames, and from sending forms or running scripts anywhere.
const pagePolicy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; form-action 'self'; base-uri 'none'"

// writePage renders a page of ours. It is built first, so that an error cannot leave half of one.
func (g *Gate) writePage(w http.ResponseWriter, code int, name string, data any) {
	var b bytes.Buffer
	if err := pages.ExecuteTemplate(&b, name, data); err != nil {
		g.log.Error().Err(err).Str("page", name).Msg("rendering a page")
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	h := w.Header()
	guardHeader(h)
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", pagePolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.Itoa(b.Len()))
	w.WriteHeader(code)
	g.writeOwn(w, b.Bytes())
}

// negotiateMint picks the form of a minting answer: JSON unless the client asks for something else.
func negotiateMint(r *http.Request) string {
	return cmp.Or(mintForms.Preferred(r), "application/json")
}

// prefersJSON is prefersHTML for a page whose default is HTML.
func prefersJSON(r *http.Request) bool {
	return strings.Join(r.Header["Accept"], "") != "" && pageForms.Preferred(r) != "text/html"
}
