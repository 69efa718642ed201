package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"strconv"

	"github.com/postonce/poe/internal/replay"
)

// An arrivalError says that a client's request did not arrive whole: what ended it is no failure of the application.
type arrivalError struct{ err error }

func (e *arrivalError) Error() string { return "reading the client's request: " + e.err.Error() }
func (e *arrivalError) Unwrap() error { return e.err }

// Status is the status that tells a client about err, which came from Execute or from Proxy: 504 if time was up, 503 if no
// connection was free, 400 if the client's request is malformed or broken off, 408 if it did not come in time, otherwise 502.
func Status(err error) int {
	var arrival *arrivalError
	switch {
	case errors.As(err, &arrival) && errors.Is(err, os.ErrDeadlineExceeded):
		return http.StatusRequestTimeout
	case errors.As(err, &arrival):
		return http.StatusBadRequest
	case errors.Is(err, replay.ErrBusy):
		return http.StatusServiceUnavailable
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return http.StatusGatewayTimeout
	default:
		return http.StatusBadGateway
	}
}

// problem is the default of Config.Error. The error itself names addresses and stays inside.
func problem(w http.ResponseWriter, _ *http.Request, err error) {
	status := Status(err)
	detail := "The application could not be reached, or did not answer in HTTP."
	switch status {
	case http.StatusBadRequest:
		detail = "The request did not arrive whole, or is not HTTP."
	case http.StatusRequestTimeout:
		detail = "The rest of the request did not arrive in time."
	case http.StatusGatewayTimeout:
		detail = "The application did not answer in time."
	case http.StatusServiceUnavailable:
		detail = "All connections to the application are taken."
	}
	writeProblem(w, status, detail)
}

// writeProblem writes a problem document (RFC 9457).
func writeProblem(w http.ResponseWriter, status int, detail string) {
	body, err := json.Marshal(struct {
		Type   string `json:"type"`
		Title  string `json:"title"`
		Status int    `json:"status"`
		Detail string `json:"detail"`
	}{"about:blank", http.StatusText(status), status, detail})
	if err != nil {
		http.Error(w, http.StatusText(status), status) // strings and a number always marshal
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that is gone needs no answer
}
