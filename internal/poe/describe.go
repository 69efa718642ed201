package core

import "net/http"

// A description is what a client may know of a route: the doors, and for how long what is said under them holds
// (draft-ietf-httpapi-idempotency-key-header-07, section 2.5.2).
type description struct {
	Name       string   `json:"name"`
	Match      string   `json:"match"`
	Doors      []string `json:"doors"`
	Require    bool     `json:"require"`
	KeyHeaders []string `json:"key_headers,omitempty"`
	ClientID   string   `json:"client_id,omitempty"`
	Unique     []string `json:"unique,omitempty"`
	TTL        float64  `json:"ttl"`     // in seconds: how long a POE URI can be used
	Repeats    float64  `json:"repeats"` // in seconds: how long after the first claim an answer is repeated under a name
	Refused    float64  `json:"refused"` // in seconds: how long after that the name is refused; then it names something new
}

// serveRoutes is GET /poe/routes.
func (g *Gate) serveRoutes(w http.ResponseWriter, r *http.Request) {
	all := make([]description, 0, len(g.routes))
	for _, c := range g.routes {
		d := description{
			Name: c.Name, Match: c.Match, Doors: c.Doors, Require: c.Require, ClientID: c.ClientID, Unique: c.Unique,
			TTL: c.TTL.Seconds(), Repeats: c.Retention.Seconds(), Refused: c.Retention.Seconds(),
		}
		if c.has(doorKey) {
			d.KeyHeaders = c.KeyHeaders
		}
		all = append(all, d)
	}
	g.cors(w.Header(), r)
	g.writeJSON(w, http.StatusOK, map[string]any{"routes": all})
}
