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
func (g *Gate) serveRoutes(w http.ResponseWriter, _ *http.Request) {
	all := make([]description, 0, len(g.routes))
	for _, r := range g.routes {
		d := description{
			Name: r.Name, Match: r.Match, Doors: r.Doors, Require: r.Require, ClientID: r.ClientID, Unique: r.Unique,
			TTL: r.TTL.Seconds(), Repeats: r.Retention.Seconds(), Refused: r.Retention.Seconds(),
		}
		if r.has(doorKey) {
			d.KeyHeaders = r.KeyHeaders
		}
		all = append(all, d)
	}
	g.writeJSON(w, http.StatusOK, map[string]any{"routes": all})
}
