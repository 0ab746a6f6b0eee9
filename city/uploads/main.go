// Uploads takes the city's uploads in and keeps them in an S3-compatible store.
//
// It is tusd as a library behind the rules of PROTOCOL 9, step 4: mutual TLS, every path below /files/CN/, nothing but
// what a verified `queued` announced, announced bytes reserved, limits per certificate. Which uploads are allowed, it
// asks `rtcc receive --rules SOCKET` (docs/adr/0071-bytes-in-an-object-store.md). What arrives is ciphertext without
// its age header: nothing here could open it.
//
// The store and its credentials come from AWS_ENDPOINT_URL, AWS_REGION, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/tus/tusd/v2/pkg/handler"
	"github.com/tus/tusd/v2/pkg/memorylocker"
	"golang.org/x/exp/slog"
)

const (
	headTimeout = 10 * time.Second // from the accept to the end of a request's head; also for the handshake
	idleTimeout = 75 * time.Second
	bodyTimeout = 30 * time.Second // a body that brings nothing for so long is taken as cut off
	lockTimeout = 30 * time.Second
	keepTime    = 5 * 24 * time.Hour // of what nobody finishes, and of the note that a whole one is whole
	sweepTime   = time.Hour
)

type settings struct {
	listen, ca, certificate, key, rules, bucket string
	room, maxUpload                             int64
	stalled                                     time.Duration
}

func parseFlags() settings {
	var s settings
	flag.StringVar(&s.listen, "listen", "127.0.0.1:8443", "ADDRESS:PORT")
	flag.StringVar(&s.ca, "ca", "", "certificates of the authorities whose gateways are let in (PEM)")
	flag.StringVar(&s.certificate, "certificate", "", "the server's certificate (PEM)")
	flag.StringVar(&s.key, "key", "", "its private key (PEM)")
	flag.StringVar(&s.rules, "rules", "", "socket of `rtcc receive --rules`")
	flag.StringVar(&s.bucket, "bucket", "", "where the uploads lie")
	flag.Int64Var(&s.room, "room", 0, "bytes that may be under way at once: no more than the store has free")
	flag.Int64Var(&s.maxUpload, "max-upload", 64<<30, "bytes of one upload")
	flag.DurationVar(&s.stalled, "stalled", time.Hour, "an upload without a new byte for so long gives its room up")
	flag.Parse()
	for _, name := range []string{"ca", "certificate", "key", "rules", "bucket", "room"} {
		if value := flag.Lookup(name).Value.String(); value == "" || value == "0" {
			fmt.Fprintf(os.Stderr, "uploads: -%s is needed\n", name)
			os.Exit(64)
		}
	}
	return s
}

func main() {
	log.SetFlags(0)
	if err := run(parseFlags()); err != nil {
		log.Fatalf("uploads: %v", err)
	}
}

func run(s settings) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	rules := newRules(s.rules)
	store, err := newStore(ctx, s, rules)
	if err != nil {
		return err
	}
	tus, err := newTus(store, s.maxUpload)
	if err != nil {
		return err
	}
	plain, err := net.Listen("tcp", s.listen)
	if err != nil {
		return err
	}
	listener, err := listenTLS(plain, s)
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler:           &guard{tus: tus, rules: rules},
		ReadHeaderTimeout: headTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          log.New(io.Discard, "", 0), // of every scan of the port
	}
	server.Protocols = new(http.Protocols)
	server.Protocols.SetHTTP1(true) // one connection is one request at a time: the limits count connections
	go store.sweepUntil(ctx)
	go func() {
		<-ctx.Done()
		ending, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		if server.Shutdown(ending) != nil {
			server.Close()
		}
	}()
	fmt.Printf("receiving at https://%s/files/\n", plain.Addr())
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// newTus returns tusd's handler of single methods; nothing but these four is routed to it.
func newTus(store *store, maxUpload int64) (*handler.UnroutedHandler, error) {
	composer := handler.NewStoreComposer()
	composer.UseCore(store)
	composer.UseTerminater(store)
	memorylocker.New().UseIn(composer)
	return handler.NewUnroutedHandler(handler.Config{
		StoreComposer:        composer,
		BasePath:             "/files/",
		MaxSize:              maxUpload,
		DisableDownload:      true,
		DisableConcatenation: true,
		Cors:                 &handler.CorsConfig{Disable: true},
		AcquireLockTimeout:   lockTimeout,
		NetworkTimeout:       bodyTimeout,
		Logger:               slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
	})
}
