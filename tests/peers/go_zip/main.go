// Extract a ZIP with Go's archive/zip: go run main.go ZIP FOLDER.
package main

import (
	"archive/zip"
	"io"
	"log"
	"os"
	"path/filepath"
)

func main() {
	bundle, err := zip.OpenReader(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	for _, entry := range bundle.File {
		if err := extract(entry, filepath.Join(os.Args[2], filepath.FromSlash(entry.Name))); err != nil {
			log.Fatalf("%s: %v", entry.Name, err)
		}
	}
}

func extract(entry *zip.File, path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	source, err := entry.Open()
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.Create(path)
	if err != nil {
		return err
	}
	if _, err := io.Copy(target, source); err != nil {
		return err
	}
	return target.Close()
}
