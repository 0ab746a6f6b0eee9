package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"strings"
	"time"

	"github.com/tus/tusd/v2/pkg/handler"
)

var errNoInfo = errors.New("no note of tusd's")

// sweepUntil drops, from hour to hour, what nobody finished.
func (s *store) sweepUntil(ctx context.Context) {
	ticker := time.NewTicker(sweepTime)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			s.dropStalled(ctx, keepTime, "")
		}
	}
}

// sweep reads at the start which uploads are under way, promises them their room, and drops what is too old. Of a whole
// one only the note that tusd keeps goes: its bytes are the RTCC's.
func (s *store) sweep(ctx context.Context) error {
	var infos []string
	old := map[string]bool{}
	_, err := s.list(ctx, uploadsDir, func(key string, changed time.Time) {
		if strings.HasSuffix(key, ".info") {
			infos = append(infos, key)
			old[key] = time.Since(changed) > keepTime
		}
	})
	if err != nil {
		return err
	}
	for _, key := range infos {
		info, err := s.readInfo(ctx, key)
		if isAbsent(err) {
			continue // gone since it was listed
		} else if err != nil && !errors.Is(err, errNoInfo) {
			return err // not knowing what is under way, we would promise its room to another one
		}
		peer, _, _ := strings.Cut(strings.TrimPrefix(key, uploadsDir), "/")
		object := strings.TrimSuffix(strings.TrimPrefix(key, uploadsDir), ".info")
		if err != nil || !strings.HasPrefix(info.ID, object+"+") {
			log.Printf("not an upload: object=%s: %v", key, err)
			continue
		}
		kept, err := s.readNote(ctx, peer, info.MetaData["filename"])
		if err != nil {
			return err
		}
		if kept == nil || kept.Object != uploadsDir+object {
			s.room.restore(peer, object, info.Size)
		}
		if old[key] {
			s.drop(ctx, peer, info)
		}
	}
	return nil
}

// readInfo reads what tusd keeps of an upload; errNoInfo if that is nothing of tusd's.
func (s *store) readInfo(ctx context.Context, key string) (info handler.FileInfo, err error) {
	content, err := s.readSmall(ctx, key)
	if err != nil {
		return info, err
	}
	if err := json.Unmarshal(content, &info); err != nil {
		return info, fmt.Errorf("%w: %w", errNoInfo, err)
	}
	return info, nil
}

// dropStalled forgets the uploads without a new byte for so long, and their bytes; it tells whether there were any.
// A store that does not answer costs nobody a promise: bytes that may be there still need their room.
func (s *store) dropStalled(ctx context.Context, longer time.Duration, of string) bool {
	dropped := false
	for _, each := range s.room.findStalled(longer, of) {
		info, err := s.readInfo(ctx, uploadsDir+each[1]+".info")
		if isAbsent(err) {
			s.room.drop(each[0], each[1])
			dropped = true
			continue
		} else if err != nil {
			log.Printf("a stalled upload stays, it cannot be looked at: gateway=%s: %v", each[0], err)
			continue
		}
		log.Printf("upload is dropped, nothing came for long: gateway=%s upload=%s", each[0], info.MetaData["filename"])
		dropped = s.drop(ctx, each[0], info) || dropped
	}
	return dropped
}

// drop forgets an upload; false, and said, if the store keeps it.
func (s *store) drop(ctx context.Context, peer string, info handler.FileInfo) bool {
	ctx = context.WithValue(ctx, peerKey{}, peer)
	found, err := s.GetUpload(ctx, info.ID)
	if err == nil {
		err = found.(*upload).forget(ctx, info)
	}
	if err != nil {
		log.Printf("upload cannot be dropped: gateway=%s: %v", peer, err)
	}
	return err == nil
}
