package shop

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	maxBody     = 64 << 10         // bytes of a request
	maxDelay    = 30 * time.Second // of ?delay=
	maxItem     = 100              // characters
	maxQuantity = 100
)

// form is what a client sends.
type form struct {
	Item     string `json:"item"`
	Quantity int    `json:"quantity"`
}

// trouble is what the query asks for.
type trouble struct {
	delay time.Duration
	fail  int  // 0: it works
	reset bool // after the order was taken
}

// order takes an order.
func (s *Shop) order(w http.ResponseWriter, r *http.Request) {
	t, err := readTrouble(r)
	if err != nil {
		refuse(w, r, http.StatusBadRequest, err)
		return
	}
	f, status, err := readForm(w, r)
	if err != nil {
		refuse(w, r, status, err)
		return
	}
	// Whoever leaves meanwhile has ordered all the same: applications seldom notice, and never in time.
	<-time.NewTimer(t.delay).C
	if t.fail != 0 {
		refuse(w, r, t.fail, errors.New("the shop fails, as it was asked to; nothing was ordered"))
		return
	}
	o := s.take(f)
	if t.reset {
		panic(http.ErrAbortHandler) // the order is taken, and the client never hears of it
	}
	w.Header().Set("Location", "/orders/"+strconv.Itoa(o.ID))
	answer(w, r, page{status: http.StatusCreated, name: "order", data: o})
}

// readTrouble reads the query.
func readTrouble(r *http.Request) (t trouble, err error) {
	q := r.URL.Query()
	if text := q.Get("delay"); text != "" {
		t.delay, err = time.ParseDuration(text)
		if err != nil || t.delay < 0 || t.delay > maxDelay {
			return t, fmt.Errorf("delay %q is not a time of at most %s, like 3s", text, maxDelay)
		}
	}
	switch text := q.Get("fail"); text {
	case "":
	case "reset":
		t.reset = true
	default:
		t.fail, err = strconv.Atoi(text)
		if err != nil || t.fail < 400 || t.fail > 599 {
			return t, fmt.Errorf("fail %q is neither a status from 400 to 599 nor reset", text)
		}
	}
	return t, nil
}

// readForm reads and checks an order, and returns the status to refuse it with.
func readForm(w http.ResponseWriter, r *http.Request) (f form, status int, err error) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		media = ""
	}
	switch media {
	case "application/json":
		f, err = readJSON(r.Body)
	case "application/x-www-form-urlencoded", "multipart/form-data":
		f, err = readFields(r)
	default:
		return f, http.StatusUnsupportedMediaType, errors.New("send a form, or JSON as application/json")
	}
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return f, http.StatusRequestEntityTooLarge, errors.New("that is too much for an order")
	case err != nil:
		return f, http.StatusBadRequest, err
	}
	return f, http.StatusUnprocessableEntity, f.check()
}

func readJSON(body io.Reader) (f form, err error) {
	d := json.NewDecoder(body)
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil {
		return f, fmt.Errorf("reading the order: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return f, errors.New("reading the order: something follows it")
	}
	return f, nil
}

func readFields(r *http.Request) (f form, err error) {
	if err := r.ParseMultipartForm(maxBody); err != nil && !errors.Is(err, http.ErrNotMultipart) { //nolint:gosec // the caller has bounded the body
		return f, fmt.Errorf("reading the form: %w", err)
	}
	f.Item = r.PostForm.Get("item")
	f.Quantity, err = strconv.Atoi(strings.TrimSpace(r.PostForm.Get("quantity")))
	if err != nil {
		f.Quantity = 0 // the check says what is wrong with it
	}
	return f, nil
}

// check wants an order that can be taken.
func (f *form) check() error {
	f.Item = strings.TrimSpace(f.Item)
	if f.Item == "" || utf8.RuneCountInString(f.Item) > maxItem {
		return fmt.Errorf("item must have 1 to %d characters", maxItem)
	}
	if f.Quantity < 1 || f.Quantity > maxQuantity {
		return fmt.Errorf("quantity must be a number from 1 to %d", maxQuantity)
	}
	return nil
}
