package main

import (
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/url"
	"regexp"
	"time"

	"github.com/tus/tusd/v2/pkg/handler"
)

const (
	extensions    = "creation,termination"
	retryAfter    = "15"
	drainedBytes  = 1 << 20
	revokedEvery  = time.Second
	renewalPrefix = "/certificates/"
	maxRenewal    = 64 << 10
)

var (
	cnPattern   = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
	namePattern = regexp.MustCompile(`^[A-Za-z0-9_-]{8,64}$`)
	pathPattern = regexp.MustCompile(`^/files/([A-Za-z0-9_-]{1,64})(?:/(?:([0-9a-f]{32}\+[A-Za-z0-9._~=-]{1,512}))?)?$`)
	errRevoked  = handler.NewError("ERR_REVOKED", "gateway is revoked", http.StatusForbidden)
)

type peerKey struct{}

// peerOf returns the CN that a request came with; the guard put it there.
func peerOf(ctx context.Context) string {
	peer, _ := ctx.Value(peerKey{}).(string)
	return peer
}

// guard stands between the socket and tusd: a gateway reaches nothing but its own part, /files/CN/, by the methods that
// it needs, while it is not revoked. The uploads of another are no path at all: 404, whatever is there.
type guard struct {
	tus   *handler.UnroutedHandler
	rules *rules
}

func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	peer := findPeer(r.TLS)
	switch revoked, err := g.rules.isRevoked(r.Context(), peer); {
	case err != nil:
		log.Printf("rules do not answer: %v", err)
		refuse(w, r, http.StatusServiceUnavailable)
		return
	case revoked:
		refuse(w, r, http.StatusForbidden)
		return
	}
	if r.URL.Path == renewalPrefix+peer && r.Method == http.MethodPost {
		g.renew(w, r, peer)
		return
	}
	if r.Method == http.MethodOptions && r.URL.Path == "/files/" {
		w.Header().Set("Tus-Resumable", "1.0.0")
		w.Header().Set("Tus-Version", "1.0.0")
		w.Header().Set("Tus-Extension", extensions)
		w.WriteHeader(http.StatusNoContent)
		return
	}
	// The escaped path: what is encoded in it leads nowhere.
	match := pathPattern.FindStringSubmatch(r.URL.EscapedPath())
	if match == nil || match[1] != peer {
		refuse(w, r, http.StatusNotFound)
		return
	}
	g.serve(w, r, peer, match[2])
}

func (g *guard) serve(w http.ResponseWriter, r *http.Request, peer, id string) {
	method := g.find(r, id)
	if method == nil {
		refuse(w, r, http.StatusNotFound)
		return
	}
	if r.Method == http.MethodPost && !isPlainCreation(r) {
		refuse(w, r, http.StatusBadRequest)
		return
	}
	inner := r.WithContext(context.WithValue(r.Context(), peerKey{}, peer))
	inner.Header = r.Header.Clone()
	inner.Header.Del("X-HTTP-Method-Override") // tusd would follow it to a method that was not judged here
	// tusd takes the whole path for the id: with the CN in it, so that no lock is shared with another gateway.
	inner.URL = &url.URL{Path: "/" + peer + "/" + id}
	inner.Body = &watchedBody{ReadCloser: r.Body, isRevoked: func() (bool, error) {
		return g.rules.isRevoked(inner.Context(), peer)
	}, asked: time.Now()}
	g.tus.Middleware(method).ServeHTTP(&answer{w}, inner)
}

func (g *guard) find(r *http.Request, id string) http.HandlerFunc {
	switch {
	case r.Method == http.MethodPost && id == "":
		return g.tus.PostFile
	case id == "":
		return nil
	case r.Method == http.MethodHead:
		return g.tus.HeadFile
	case r.Method == http.MethodPatch:
		return g.tus.PatchFile
	case r.Method == http.MethodDelete:
		return g.tus.DelFile
	}
	return nil
}

// isPlainCreation tells whether a creation has a length, no body and is not made of others.
func isPlainCreation(r *http.Request) bool {
	for _, name := range []string{"Upload-Concat", "Upload-Defer-Length"} {
		if r.Header.Get(name) != "" {
			return false
		}
	}
	return r.ContentLength == 0
}

// renew passes a gateway's wish for a further certificate on to the RTCC, with the certificate that it showed.
func (g *guard) renew(w http.ResponseWriter, r *http.Request, peer string) {
	http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRenewal))
	if err != nil {
		w.Header().Set("Connection", "close")
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		return
	}
	status, kind, content, err := g.rules.renew(r.Context(), peer, r.TLS.PeerCertificates[0].Raw, body)
	if err != nil {
		log.Printf("rules do not answer: %v", err)
		status, content = http.StatusServiceUnavailable, nil
	}
	switch status {
	case http.StatusOK:
		w.Header().Set("Content-Type", kind)
	case http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", retryAfter)
	}
	w.WriteHeader(status)
	w.Write(content)
}

// refuse answers with nothing but a status. A small body is taken in first: a connection that is closed over unread
// bytes loses the answer.
func refuse(w http.ResponseWriter, r *http.Request, status int) {
	http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout))
	io.CopyN(io.Discard, r.Body, drainedBytes)
	w.Header().Set("Tus-Resumable", "1.0.0")
	w.Header().Set("Connection", "close")
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", retryAfter)
	}
	w.WriteHeader(status)
}

// watchedBody ends when its gateway is revoked: asked again every second while bytes come.
type watchedBody struct {
	io.ReadCloser
	isRevoked func() (bool, error)
	asked     time.Time
}

func (b *watchedBody) Read(into []byte) (int, error) {
	if time.Since(b.asked) >= revokedEvery {
		b.asked = time.Now()
		if revoked, err := b.isRevoked(); revoked || err != nil {
			return 0, errors.New("gateway is revoked, or nobody knows")
		}
	}
	return b.ReadCloser.Read(into)
}

// answer makes the address of a new upload relative: behind a proxy nothing here knows which host was dialled.
type answer struct{ http.ResponseWriter }

func (a *answer) WriteHeader(status int) {
	if location, err := url.Parse(a.Header().Get("Location")); err == nil && location.Path != "" {
		a.Header().Set("Location", location.Path)
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }
