package shop

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"html/template"
	"net/http"
	"strconv"

	"github.com/postonce/poe/internal/accept"
)

//go:embed pages/*.html
var files embed.FS

// pages are parsed once; a mistake in them stops the first test.
var pages = template.Must(template.ParseFS(files, "pages/*.html"))

// page is an answer in both its forms.
type page struct {
	status int
	name   string // of the template
	data   any    // for the template, and as JSON
}

// slowly is what both forms on the page POST to: slow enough to press twice.
const slowly = "/orders?delay=2s"

// front is the page with the order forms.
func (s *Shop) front(w http.ResponseWriter, r *http.Request) {
	data := struct {
		Orders  []Order
		Plain   string // the plain address
		Once    string // the single-use address; "": there is none
		Offered bool   // there could be one
	}{Orders: s.latest(), Plain: slowly, Offered: s.cfg.Mint != nil}
	if len(data.Orders) > 5 {
		data.Orders = data.Orders[:5]
	}
	if s.cfg.Mint != nil {
		if uri, err := s.cfg.Mint(r.Context(), slowly); err == nil {
			data.Once = uri
		}
	}
	render(w, page{status: http.StatusOK, name: "front", data: data})
}

func (s *Shop) list(w http.ResponseWriter, r *http.Request) {
	answer(w, r, page{status: http.StatusOK, name: "orders", data: s.latest()})
}

func (s *Shop) show(w http.ResponseWriter, r *http.Request) {
	id, err := strconv.Atoi(r.PathValue("id"))
	o, ok := s.find(id)
	if err != nil || !ok {
		refuse(w, r, http.StatusNotFound, errors.New("there is no such order"))
		return
	}
	answer(w, r, page{status: http.StatusOK, name: "order", data: o})
}

// refuse says why something is not done.
func refuse(w http.ResponseWriter, r *http.Request, status int, why error) {
	answer(w, r, page{status: status, name: "refused", data: struct {
		Error string `json:"error"`
	}{why.Error()}})
}

var forms = accept.Offer("application/json", "text/html")

// answer sends JSON, or the page to whoever prefers one.
func answer(w http.ResponseWriter, r *http.Request, p page) {
	w.Header().Set("Vary", "Accept")
	if forms.Preferred(r) == "text/html" {
		render(w, p)
		return
	}
	text, err := json.Marshal(p.data)
	if err != nil {
		panic(err) // our own types
	}
	send(w, p.status, "application/json", append(text, '\n'))
}

// render sends the page.
func render(w http.ResponseWriter, p page) {
	var b bytes.Buffer
	if err := pages.ExecuteTemplate(&b, p.name, p); err != nil {
		panic(err) // our own templates
	}
	send(w, p.status, "text/html; charset=utf-8", b.Bytes())
}

func send(w http.ResponseWriter, status int, contentType string, body []byte) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client has gone: nothing to undo
}

// Data returns what the page is about.
func (p page) Data() any { return p.data }

// Status returns the page's status in words.
func (p page) Status() string { return http.StatusText(p.status) }

// Created tells whether the page is the answer to an order.
func (p page) Created() bool { return p.status == http.StatusCreated }
