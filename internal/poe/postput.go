package core

import "net/http"

// The door of POST-PUT: an empty POST reserves an action, and writes nothing; a PUT of the data to the POE URI that it is given executes
// the POST, and repeats its answer afterwards.

// reserves tells whether the request asks for such a URI. One that may have a body does not.
func (c *call) reserves() bool {
	return c.route.has(doorPostPut) && c.r.Method == http.MethodPost && c.r.ContentLength == 0
}

func (c *call) reserve() {
	g := c.g
	address, trouble := c.wantsCallback()
	if trouble != nil {
		c.turnAway(trouble)
		return
	}
	m := MintRequest{Target: c.target, Method: http.MethodPost, Principal: c.proven, Callback: address}
	rt, err := g.mintable(&m)
	if err != nil {
		g.refuseMint(c.w, c.r, err)
		return
	}
	fresh, err := g.mint(rt, &m)
	if err != nil {
		g.refuseMint(c.w, c.r, err)
		return
	}
	rt.cors(c.w.Header(), c.r)
	g.addLinks(c.w.Header(), []Minted{fresh})
	c.w.Header().Set("Location", fresh.URI)
	g.writeJSON(c.w, http.StatusCreated, fresh)
}

// puts tells whether a request to a POE URI is the PUT of the data.
func (c *call) puts() bool {
	return c.r.Method == http.MethodPut && c.claims.Method == http.MethodPost && c.route.has(doorPostPut)
}
