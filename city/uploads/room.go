package main

import (
	"net/http"
	"sync"
	"time"

	"github.com/tus/tusd/v2/pkg/handler"
)

const (
	maxUnfinished = 64        // per certificate: as many as a request may name cameras
	maxAnnounced  = 256 << 30 // bytes per certificate, of all its unfinished uploads together
)

// room is how much was promised: bytes that were announced and are not here yet, per certificate and in all.
// A promise that is not counted is made twice, and two uploads that each fit would fail together in the middle.
type room struct {
	mutex sync.Mutex
	free  int64 // bytes that may still be promised
	left  map[string]map[string]*promise
}

type promise struct {
	size  int64
	moved time.Time
	busy  int // requests that are at it; such an upload is not given up
}

func newRoom(free int64) *room {
	return &room{free: free, left: map[string]map[string]*promise{}}
}

// allow promises room for one upload; an error says why there is none now.
func (r *room) allow(peer, key string, size int64) error {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	own, bytes := r.left[peer], size
	for _, each := range own {
		bytes += each.size
	}
	if len(own) >= maxUnfinished || bytes > maxAnnounced {
		return notNow(http.StatusTooManyRequests, "too many uploads, or bytes, under way")
	}
	if size > r.free {
		return notNow(http.StatusServiceUnavailable, "store is full")
	}
	r.put(peer, key, size)
	return nil
}

func (r *room) put(peer, key string, size int64) {
	if r.left[peer] == nil {
		r.left[peer] = map[string]*promise{}
	}
	r.left[peer][key] = &promise{size: size, moved: time.Now()}
	r.free -= size
}

// restore takes an upload of an earlier run in.
func (r *room) restore(peer, key string, size int64) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.put(peer, key, size)
}

// drop forgets an upload that is whole, or is not wanted any more.
func (r *room) drop(peer, key string) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if own := r.left[peer][key]; own != nil {
		r.free += own.size
		delete(r.left[peer], key)
		if len(r.left[peer]) == 0 {
			delete(r.left, peer)
		}
	}
}

// hold keeps an upload from being given up while bytes come; call what it returns at the end, with their number.
func (r *room) hold(peer, key string) func(int64) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	own := r.left[peer][key]
	if own == nil {
		return func(int64) {}
	}
	own.busy++
	return func(count int64) {
		r.mutex.Lock()
		defer r.mutex.Unlock()
		own.busy--
		if count > 0 {
			own.moved = time.Now()
		}
	}
}

// findStalled returns the uploads without a new byte for so long: of one gateway, or of all ("").
func (r *room) findStalled(longer time.Duration, of string) (found [][2]string) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	for peer, uploads := range r.left {
		for key, each := range uploads {
			if each.busy == 0 && time.Since(each.moved) >= longer && (of == "" || of == peer) {
				found = append(found, [2]string{peer, key})
			}
		}
	}
	return found
}

func notNow(status int, why string) error {
	refusal := handler.NewError("ERR_NOT_NOW", why, status)
	refusal.HTTPResponse.Header["Retry-After"] = retryAfter
	return refusal
}
