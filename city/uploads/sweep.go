package main

import (
	"context"
	"encoding/json"
	"io"
	"log"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/tus/tusd/v2/pkg/handler"
)

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

func (s *store) readInfo(ctx context.Context, key string) (info handler.FileInfo, err error) {
	found, err := s.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &s.Bucket, Key: &key})
	if err != nil {
		return info, err
	}
	defer found.Body.Close()
	err = json.NewDecoder(io.LimitReader(found.Body, 1<<16)).Decode(&info)
	return info, err
}

// dropStalled forgets the uploads without a new byte for so long, and their bytes; it tells whether there were any.
func (s *store) dropStalled(ctx context.Context, longer time.Duration, of string) bool {
	found := s.room.findStalled(longer, of)
	for _, each := range found {
		info, err := s.readInfo(ctx, uploadsDir+each[1]+".info")
		if err != nil {
			s.room.drop(each[0], each[1])
			continue
		}
		log.Printf("upload is dropped, nothing came for long: gateway=%s upload=%s", each[0], info.MetaData["filename"])
		s.drop(ctx, each[0], info)
	}
	return len(found) > 0
}

func (s *store) drop(ctx context.Context, peer string, info handler.FileInfo) {
	ctx = context.WithValue(ctx, peerKey{}, peer)
	found, err := s.GetUpload(ctx, info.ID)
	if err == nil {
		err = found.(*upload).forget(ctx, info)
	}
	if err != nil {
		log.Printf("upload cannot be dropped: gateway=%s: %v", peer, err)
	}
}
