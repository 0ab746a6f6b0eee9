// Read ZIPs with Go's archive/zip: zip ZIP...
// Prints a line per entry: the ZIP, the entry's name, the SHA-256 of its bytes, with tabs between; or ZIP, "error", why.
package main

import (
	"archive/zip"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
)

func main() {
	for _, path := range os.Args[1:] {
		if err := list(path); err != nil {
			fmt.Printf("%s\terror\t%v\n", path, err)
		}
	}
}

func list(path string) error {
	bundle, err := zip.OpenReader(path)
	if err != nil {
		return err
	}
	defer bundle.Close()
	for _, entry := range bundle.File {
		source, err := entry.Open()
		if err != nil {
			return err
		}
		digest := sha256.New()
		if _, err := io.Copy(digest, source); err != nil {
			return err
		}
		source.Close()
		fmt.Printf("%s\t%s\t%x\n", path, entry.Name, digest.Sum(nil))
	}
	return nil
}
