package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

const (
	object = "gw1/0123456789abcdef0123456789abcdef"
	info   = `{"ID":"` + object + `+part","Size":10,"MetaData":{"filename":"upload-name-1"}}`
)

// faultyStore answers S3's questions about one upload; fault says of a request with which status it fails instead.
func faultyStore(t *testing.T, content string, fault func(*http.Request) int) *store {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if status := fault(r); status != 0 {
			w.WriteHeader(status)
			return
		}
		switch {
		case r.URL.Query().Has("list-type"):
			fmt.Fprintf(w, `<ListBucketResult><Contents><Key>%s%s.info</Key><LastModified>%s</LastModified></Contents>`+
				`</ListBucketResult>`, uploadsDir, object, time.Now().UTC().Format(time.RFC3339))
		case r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, ".info"):
			fmt.Fprint(w, content)
		case r.Method == http.MethodGet:
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `<Error><Code>NoSuchKey</Code></Error>`)
		case r.Method == http.MethodPost:
			fmt.Fprint(w, `<DeleteResult></DeleteResult>`)
		default:
			w.WriteHeader(http.StatusNoContent)
		}
	}))
	t.Cleanup(server.Close)
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL": server.URL, "AWS_REGION": "us-east-1", "AWS_MAX_ATTEMPTS": "1",
		"AWS_ACCESS_KEY_ID": "only-here", "AWS_SECRET_ACCESS_KEY": "only-here",
	} {
		t.Setenv(name, value)
	}
	client, err := newClient(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	made, err := newStore(context.Background(), settings{bucket: "city", room: 100}, nil)
	if err != nil {
		made = &store{client: client, room: newRoom(100)}
		made.Bucket = "city"
	}
	return made
}

func isInfo(r *http.Request) bool {
	return r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, ".info")
}

// Whoever starts without knowing what is under way promises its room to another one.
func TestAStartWithoutTheStoresAnswerIsNone(t *testing.T) {
	faults := map[string]func(*http.Request) int{
		"the list": func(r *http.Request) int {
			if r.URL.Query().Has("list-type") {
				return http.StatusServiceUnavailable
			}
			return 0
		},
		"an upload of it": func(r *http.Request) int {
			if isInfo(r) {
				return http.StatusServiceUnavailable
			}
			return 0
		},
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			if err := faultyStore(t, info, fault).sweep(context.Background()); err == nil {
				t.Error("the sweep is called done")
			}
		})
	}
}

// What went since it was listed, and what is nothing of tusd's, keeps nobody from starting.
func TestAStartGoesPastWhatIsNoUpload(t *testing.T) {
	broken := faultyStore(t, "{", func(*http.Request) int { return 0 })
	if err := broken.sweep(context.Background()); err != nil {
		t.Error(err)
	}
	gone := faultyStore(t, info, func(r *http.Request) int {
		if isInfo(r) {
			return http.StatusNotFound
		}
		return 0
	})
	if err := gone.sweep(context.Background()); err != nil {
		t.Error(err)
	}
}

// A promise ends with its bytes, never because the store does not say whether they are there.
func TestAStalledUploadKeepsItsRoomWhileTheStoreIsAway(t *testing.T) {
	away := false
	faults := map[string]func(*http.Request) bool{
		"its note cannot be read":   isInfo,
		"its bytes cannot be freed": func(r *http.Request) bool { return r.Method == http.MethodDelete },
	}
	for name, isHit := range faults {
		t.Run(name, func(t *testing.T) {
			away = false
			store := faultyStore(t, info, func(r *http.Request) int {
				if away && isHit(r) {
					return http.StatusServiceUnavailable
				}
				return 0
			})
			if store.room.free != 90 {
				t.Fatalf("free=%d after the start", store.room.free)
			}
			away = true
			if store.dropStalled(context.Background(), 0, "") || store.room.free != 90 {
				t.Errorf("free=%d while the store is away", store.room.free)
			}
			away = false
			if !store.dropStalled(context.Background(), 0, "") || store.room.free != 100 {
				t.Errorf("free=%d afterwards", store.room.free)
			}
		})
	}
}

// A store that takes a request and says nothing is away, after a limit.
func TestASilentStoreIsAway(t *testing.T) {
	before := headerTimeout
	headerTimeout = 50 * time.Millisecond
	defer func() { headerTimeout = before }()
	silent := false
	release := make(chan struct{})
	defer close(release)
	store := faultyStore(t, info, func(*http.Request) int {
		if silent {
			<-release
		}
		return 0
	})
	silent = true
	began := time.Now()
	if _, err := store.readInfo(context.Background(), uploadsDir+object+".info"); err == nil {
		t.Error("an answer that nobody gave")
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("waited for %s", took)
	}
}
