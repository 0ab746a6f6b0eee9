package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

const rulesTimeout = 10 * time.Second

// rules asks the RTCC which uploads are allowed: HTTP on a socket that only its own user may open.
// Whatever does not answer 200 with JSON is an error, and an error is a no.
type rules struct{ client *http.Client }

// said is what the RTCC knows of one upload.
type said struct {
	Announced bool   `json:"announced"`
	Revoked   bool   `json:"revoked"`
	Signed    string `json:"signed"` // SHA-256 (hex) that a `delivered` answer names; "" before one
}

func newRules(socket string) *rules {
	dialer := &net.Dialer{Timeout: rulesTimeout}
	return &rules{&http.Client{
		Timeout: rulesTimeout,
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return dialer.DialContext(ctx, "unix", socket)
			},
			MaxIdleConnsPerHost: 16,
		},
	}}
}

func (r *rules) isRevoked(ctx context.Context, peer string) (bool, error) {
	var found said
	err := r.ask(ctx, "/gateways/"+peer, &found)
	return found.Revoked, err
}

func (r *rules) ofUpload(ctx context.Context, peer, name string) (found said, err error) {
	err = r.ask(ctx, "/gateways/"+peer+"/uploads/"+name, &found)
	return found, err
}

// tell says that an upload is whole and durable.
func (r *rules) tell(ctx context.Context, peer, name string) error {
	_, _, _, err := r.call(ctx, http.MethodPost, "/gateways/"+peer+"/uploads/"+name, nil, nil)
	return err
}

func (r *rules) renew(ctx context.Context, peer string, shown, body []byte) (int, string, []byte, error) {
	headers := map[string]string{"X-Client-Certificate": base64.StdEncoding.EncodeToString(shown)}
	return r.call(ctx, http.MethodPost, renewalPrefix+peer, headers, body)
}

func (r *rules) ask(ctx context.Context, path string, into *said) error {
	status, _, body, err := r.call(ctx, http.MethodGet, path, nil, nil)
	if err != nil {
		return err
	}
	if status != http.StatusOK {
		return fmt.Errorf("status %d", status)
	}
	return json.Unmarshal(body, into)
}

func (r *rules) call(
	ctx context.Context, method, path string, headers map[string]string, body []byte,
) (int, string, []byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://rules"+path, bytes.NewReader(body))
	if err != nil {
		return 0, "", nil, err
	}
	for name, value := range headers {
		request.Header.Set(name, value)
	}
	response, err := r.client.Do(request)
	if err != nil {
		return 0, "", nil, err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(io.LimitReader(response.Body, maxRenewal))
	return response.StatusCode, response.Header.Get("Content-Type"), content, err
}
