package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	"github.com/tus/tusd/v2/pkg/handler"
	"github.com/tus/tusd/v2/pkg/s3store"
)

const (
	maxConflicts = 16 // kept per gateway, for a person to look at
	checkTimeout = time.Hour
	storeTimeout = 90 * time.Second // of a note or a page of a list, with the repetitions of the client
	maxNote      = 1 << 16
	uploadsDir   = "uploads/"
	receivedDir  = "received/"
)

// headerTimeout is how long the store may take from the last byte of a request to the head of its answer.
var headerTimeout = 30 * time.Second

var (
	digestPattern = regexp.MustCompile(`^[0-9a-f]{64}$`)
	errNotTaken   = handler.NewError("ERR_NOT_TAKEN", "payload is not the one that is wanted", http.StatusGone)
)

// store is tusd's S3 store with the rules around it.
//
//	uploads/CN/UID          the bytes; they never move. tusd keeps UID.info and UID.part beside them
//	received/CN/NAME.json   the note: which UID is whole, checked and wanted. It is written last
//	received/CN/conflicts/NAME.SHA256.json   another payload under a name that a signed answer uses
//
// An upload is whole for its gateway when its note is there, never because its last byte is.
type store struct {
	s3store.S3Store
	client    *s3.Client
	rules     *rules
	room      *room
	stalled   time.Duration
	finishing sync.Mutex // between the last look at the rules and the note
}

// note is what lies in received/, as the embedded receiver writes it, and where the bytes are.
type note struct {
	Gateway    string `json:"gateway"`
	Size       int64  `json:"size"`
	SHA256     string `json:"sha256"`
	ReceivedAt int64  `json:"received_at_s"`
	Object     string `json:"object"`
}

type upload struct {
	handler.Upload
	store            *store
	peer, id, object string // CN, CN/UID+PART, CN/UID
}

// newClient returns a client of the store of which no request is without an end: reading a whole payload back is the
// longest, and has checkTimeout.
func newClient(ctx context.Context) (*s3.Client, error) {
	bounded := awshttp.NewBuildableClient().WithTimeout(checkTimeout).WithTransportOptions(func(t *http.Transport) {
		t.ResponseHeaderTimeout = headerTimeout
	})
	loaded, err := config.LoadDefaultConfig(ctx, config.WithHTTPClient(bounded))
	if err != nil {
		return nil, err
	}
	return s3.NewFromConfig(loaded, func(options *s3.Options) {
		// What is not Amazon's knows buckets by path, and not every one the new checksums.
		options.UsePathStyle = os.Getenv("AWS_ENDPOINT_URL") != "" || os.Getenv("AWS_ENDPOINT_URL_S3") != ""
		options.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
		options.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
	}), nil
}

func newStore(ctx context.Context, s settings, rules *rules) (*store, error) {
	client, err := newClient(ctx)
	if err != nil {
		return nil, err
	}
	inner := s3store.New(s.bucket, client)
	inner.ObjectPrefix = strings.TrimSuffix(uploadsDir, "/")
	made := &store{S3Store: inner, client: client, rules: rules, room: newRoom(s.room), stalled: s.stalled}
	return made, made.sweep(ctx)
}

// NewUpload begins an upload if the rules allow it. The id is ours, and names the gateway.
func (s *store) NewUpload(ctx context.Context, info handler.FileInfo) (handler.Upload, error) {
	peer, name := peerOf(ctx), info.MetaData["filename"]
	if info.Size <= 0 || !namePattern.MatchString(name) {
		return nil, handler.NewError("ERR_UNFIT", "a length, and a filename of 8 to 64 letters, digits, - and _, "+
			"are needed", http.StatusBadRequest)
	}
	said, err := s.rules.ofUpload(ctx, peer, name)
	if err != nil {
		return nil, away("rules", err)
	}
	if !said.Announced {
		// The `queued` that names it may be on its way, or nobody takes answers in at the moment.
		return nil, notNow(http.StatusServiceUnavailable, "no queued answer names this upload yet")
	}
	random := make([]byte, 16)
	rand.Read(random)
	object := peer + "/" + hex.EncodeToString(random)
	if err := s.reserve(ctx, peer, object, info.Size); err != nil {
		return nil, err
	}
	meta := handler.MetaData{"filename": name}
	if digest := info.MetaData["sha256"]; digestPattern.MatchString(digest) {
		meta["sha256"] = digest
	}
	inner, err := s.S3Store.NewUpload(ctx, handler.FileInfo{ID: object, Size: info.Size, MetaData: meta})
	if err != nil {
		s.room.drop(peer, object) // nobody knows its address: no byte of it can come
		return nil, away("store", err)
	}
	created, err := inner.GetInfo(ctx)
	if err != nil {
		s.room.drop(peer, object)
		s.S3Store.AsTerminatableUpload(inner).Terminate(ctx) // nobody knows its address
		return nil, away("store", err)
	}
	return &upload{inner, s, peer, created.ID, object}, nil
}

// reserve makes room; at the cost of uploads that stalled, but of a gateway's own ones if it is at its own limit.
func (s *store) reserve(ctx context.Context, peer, object string, size int64) error {
	err := s.room.allow(peer, object, size)
	var refusal handler.Error
	if errors.As(err, &refusal) {
		of := ""
		if refusal.HTTPResponse.StatusCode == http.StatusTooManyRequests {
			of = peer
		}
		if s.dropStalled(ctx, s.stalled, of) {
			err = s.room.allow(peer, object, size)
		}
	}
	return err
}

// GetUpload finds an upload by the id that the guard put together: CN/UID+PART.
func (s *store) GetUpload(ctx context.Context, id string) (handler.Upload, error) {
	peer, _, found := strings.Cut(id, "/")
	object, _, _ := strings.Cut(id, "+")
	if !found || peer == "" || peer != peerOf(ctx) {
		return nil, handler.ErrNotFound
	}
	inner, err := s.S3Store.GetUpload(ctx, id)
	if err != nil {
		return nil, handler.ErrNotFound
	}
	return &upload{inner, s, peer, id, object}, nil
}

// AsTerminatableUpload is tusd's way to ask for Terminate.
func (s *store) AsTerminatableUpload(each handler.Upload) handler.TerminatableUpload {
	return each.(*upload)
}

// GetInfo tells how far an upload is. One with all its bytes is not whole before it was accepted: after a kill in
// between, the question of its gateway is what makes that good. The store calls an upload whole whose parts are gone.
func (u *upload) GetInfo(ctx context.Context) (handler.FileInfo, error) {
	info, err := u.Upload.GetInfo(ctx)
	if errors.Is(err, handler.ErrNotFound) || (err == nil && info.ID != u.id) {
		return handler.FileInfo{}, handler.ErrNotFound
	}
	if err != nil {
		return handler.FileInfo{}, away("store", err)
	}
	if info.Offset == info.Size {
		if accepted, err := u.accept(ctx, info); err != nil {
			return handler.FileInfo{}, err
		} else if !accepted {
			return handler.FileInfo{}, handler.ErrNotFound
		}
	}
	return info, nil
}

// WriteChunk appends. What the store says of a failure stays here.
func (u *upload) WriteChunk(ctx context.Context, offset int64, source io.Reader) (int64, error) {
	release := u.store.room.hold(u.peer, u.object)
	count, err := u.Upload.WriteChunk(ctx, offset, source)
	release(count)
	return count, away("store", err)
}

// FinishUpload is called under the lock of the upload once its last byte is here. A refused payload is forgotten, and
// its gateway told so: it begins anew.
func (u *upload) FinishUpload(ctx context.Context) error {
	info, err := u.Upload.GetInfo(ctx)
	if err != nil {
		return away("store", err)
	}
	accepted, err := u.accept(ctx, info)
	if err == nil && !accepted {
		return errNotTaken
	}
	return err
}

// Terminate forgets an upload; what was received stays.
func (u *upload) Terminate(ctx context.Context) error {
	info, err := u.Upload.GetInfo(ctx)
	if errors.Is(err, handler.ErrNotFound) || (err == nil && info.ID != u.id) {
		return handler.ErrNotFound
	}
	if err != nil {
		return away("store", err)
	}
	return u.forget(ctx, info)
}

func (u *upload) forget(ctx context.Context, info handler.FileInfo) error {
	u.store.finishing.Lock()
	defer u.store.finishing.Unlock()
	return u.forgetLocked(ctx, info)
}

// forgetLocked is forget for whom holds finishing: between the look for a note and the deletion none is written.
func (u *upload) forgetLocked(ctx context.Context, info handler.FileInfo) error {
	kept, err := u.store.readNote(ctx, u.peer, info.MetaData["filename"])
	if err != nil {
		return err
	}
	if kept != nil && kept.Object == uploadsDir+u.object {
		return u.forgetInfo(ctx)
	}
	if err := u.store.S3Store.AsTerminatableUpload(u.Upload).Terminate(ctx); err != nil && !isAbsent(err) {
		return away("store", err) // its bytes are there, and need the room that they have
	}
	u.store.room.drop(u.peer, u.object)
	return nil
}

// forgetInfo ends the upload and leaves its bytes.
func (u *upload) forgetInfo(ctx context.Context) error {
	if err := u.store.remove(ctx, uploadsDir+u.object+".info"); err != nil {
		return err
	}
	u.store.room.drop(u.peer, u.object)
	return nil
}

// accept checks a payload whose bytes are all here, and writes its note. It may be called again at any time.
func (u *upload) accept(ctx context.Context, info handler.FileInfo) (bool, error) {
	// Hashing may take long: meanwhile no other one's wish for room makes this a stalled upload.
	defer u.store.room.hold(u.peer, u.object)(0)
	// A gateway that asks meanwhile, or gives up, does not begin the hashing anew.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), checkTimeout)
	defer cancel()
	name := info.MetaData["filename"]
	kept, err := u.store.readNote(ctx, u.peer, name)
	if err != nil {
		return false, err
	}
	if kept != nil && kept.Object == uploadsDir+u.object {
		return true, nil
	}
	if err := u.refuseRevoked(ctx); err != nil {
		return false, err
	}
	digest, err := u.complete(ctx, info.Size)
	if err != nil {
		return false, err
	}
	if promised := info.MetaData["sha256"]; digest == "" || (promised != "" && promised != digest) {
		log.Printf("upload is not what was promised: gateway=%s upload=%s", u.peer, name)
		return false, u.forget(ctx, info)
	}
	return u.decide(ctx, info, digest)
}

// complete joins the parts, if that was not done before, and returns the SHA-256 of what the store gives back;
// "" if that is not there or has another size.
func (u *upload) complete(ctx context.Context, size int64) (string, error) {
	key := uploadsDir + u.object
	here, err := u.isHere(ctx)
	if err != nil {
		return "", err
	}
	if !here {
		if err := u.Upload.FinishUpload(ctx); err != nil && !isAbsent(err) {
			return "", away("store", err)
		}
	}
	found, err := u.store.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &u.store.Bucket, Key: &key})
	if isAbsent(err) {
		return "", nil
	} else if err != nil {
		return "", away("store", err)
	}
	defer found.Body.Close()
	hash := sha256.New()
	count, err := io.Copy(hash, found.Body)
	if err != nil {
		return "", away("store", err)
	}
	if count != size {
		return "", nil
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// isHere tells whether the joined bytes are in the store.
func (u *upload) isHere(ctx context.Context) (bool, error) {
	key := uploadsDir + u.object
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	_, err := u.store.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &u.store.Bucket, Key: &key})
	if isAbsent(err) {
		return false, nil
	}
	return err == nil, away("store", err)
}

// decide looks at the rules once more, because hashing took its time, and writes the note.
func (u *upload) decide(ctx context.Context, info handler.FileInfo, digest string) (bool, error) {
	name, s := info.MetaData["filename"], u.store
	s.finishing.Lock()
	defer s.finishing.Unlock()
	if err := u.refuseRevoked(ctx); err != nil {
		return false, err
	}
	said, err := s.rules.ofUpload(ctx, u.peer, name)
	if err != nil {
		return false, away("rules", err)
	}
	// It was forgotten while it was hashed: a note must never lead to bytes that are gone.
	if here, err := u.isHere(ctx); err != nil || !here {
		return false, err
	}
	made := note{u.peer, info.Size, digest, time.Now().Unix(), uploadsDir + u.object}
	if said.Signed != "" && said.Signed != digest {
		log.Printf("upload differs from the one signed for: gateway=%s upload=%s", u.peer, name)
		return false, u.keepConflict(ctx, name, made, info)
	}
	before, err := s.readNote(ctx, u.peer, name)
	if err != nil {
		return false, err
	}
	if err := s.writeNote(ctx, receivedDir+u.peer+"/"+name+".json", made); err != nil {
		return false, err
	}
	s.room.drop(u.peer, u.object)
	if before != nil && before.Object != made.Object {
		if err := s.remove(ctx, before.Object, before.Object+".info"); err != nil {
			log.Printf("an older payload stays: object=%s: %v", before.Object, err)
		}
	}
	if err := s.rules.tell(ctx, u.peer, name); err != nil {
		log.Printf("rules do not answer: %v", err)
	}
	return true, nil
}

// keepConflict puts a payload aside whose name a signed answer uses for another one.
func (u *upload) keepConflict(ctx context.Context, name string, made note, info handler.FileInfo) error {
	folder := receivedDir + u.peer + "/conflicts/"
	count, err := u.store.list(ctx, folder, nil)
	if err != nil {
		return err
	}
	if count >= maxConflicts {
		return u.forgetLocked(ctx, info)
	}
	if err := u.store.writeNote(ctx, fmt.Sprintf("%s%s.%s.json", folder, name, made.SHA256), made); err != nil {
		return err
	}
	return u.forgetInfo(ctx)
}

func (u *upload) refuseRevoked(ctx context.Context) error {
	revoked, err := u.store.rules.isRevoked(ctx, u.peer)
	if err != nil {
		return away("rules", err)
	}
	if revoked {
		return errRevoked
	}
	return nil
}

func (s *store) readNote(ctx context.Context, peer, name string) (*note, error) {
	content, err := s.readSmall(ctx, receivedDir+peer+"/"+name+".json")
	if isAbsent(err) {
		return nil, nil
	}
	var read note
	if err == nil {
		err = json.Unmarshal(content, &read)
	}
	if err != nil {
		return nil, away("store", err)
	}
	return &read, nil
}

// readSmall reads an object of at most maxNote bytes.
func (s *store) readSmall(ctx context.Context, key string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	found, err := s.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &s.Bucket, Key: &key})
	if err != nil {
		return nil, err
	}
	defer found.Body.Close()
	return io.ReadAll(io.LimitReader(found.Body, maxNote))
}

func (s *store) writeNote(ctx context.Context, key string, made note) error {
	content, err := json.Marshal(made)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	_, err = s.client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &s.Bucket, Key: &key, Body: bytes.NewReader(content), ContentType: aws.String("application/json"),
	})
	return away("store", err)
}

func (s *store) remove(ctx context.Context, keys ...string) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	for _, key := range keys {
		if _, err := s.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &s.Bucket, Key: &key}); err != nil &&
			!isAbsent(err) {
			return away("store", err)
		}
	}
	return nil
}

// list calls each with every key below a prefix and the time of its last change, and returns how many there are.
func (s *store) list(ctx context.Context, prefix string, each func(string, time.Time)) (count int, err error) {
	pages := s3.NewListObjectsV2Paginator(s.client, &s3.ListObjectsV2Input{Bucket: &s.Bucket, Prefix: &prefix})
	for pages.HasMorePages() {
		page, err := nextPage(ctx, pages)
		if err != nil {
			return count, away("store", err)
		}
		for _, object := range page.Contents {
			count++
			if each != nil {
				each(aws.ToString(object.Key), aws.ToTime(object.LastModified))
			}
		}
	}
	return count, nil
}

func nextPage(ctx context.Context, pages *s3.ListObjectsV2Paginator) (*s3.ListObjectsV2Output, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	return pages.NextPage(ctx)
}

func isAbsent(err error) bool {
	var said smithy.APIError
	if !errors.As(err, &said) {
		return false
	}
	switch said.ErrorCode() {
	case "NoSuchKey", "NoSuchUpload", "NotFound":
		return true
	}
	return false
}

// away makes an error of ours out of one that is another's: logged here, and said as 503.
func away(who string, err error) error {
	var ours handler.Error
	if err == nil || errors.As(err, &ours) {
		return err
	}
	log.Printf("%s does not answer: %v", who, err)
	return notNow(http.StatusServiceUnavailable, who+" does not answer")
}
