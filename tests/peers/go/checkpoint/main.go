// Verify signed notes and Merkle proofs with Go's sumdb/note and sumdb/tlog: checkpoint < CASES
// CASES is a JSON list of {"note", "vkey"} and of either {"index", "leaf", "path"}, a proof of one entry, or
// {"old_size", "old_root", "path"}, a proof of growth. Prints a JSON list: "" for what holds, or why it does not.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type testCase struct {
	Note    string   `json:"note"`
	VKey    string   `json:"vkey"`
	Index   *int64   `json:"index"`
	Leaf    string   `json:"leaf"`
	OldSize *int64   `json:"old_size"`
	OldRoot string   `json:"old_root"`
	Path    []string `json:"path"`
}

func main() {
	var cases []testCase
	if err := json.NewDecoder(os.Stdin).Decode(&cases); err != nil {
		panic(err)
	}
	results := make([]string, len(cases))
	for i, each := range cases {
		if err := verify(each); err != nil {
			results[i] = err.Error()
		}
	}
	if err := json.NewEncoder(os.Stdout).Encode(results); err != nil {
		panic(err)
	}
}

func verify(each testCase) error {
	verifier, err := note.NewVerifier(each.VKey)
	if err != nil {
		return err
	}
	opened, err := note.Open([]byte(each.Note), note.VerifierList(verifier))
	if err != nil {
		return err
	}
	// C2SP tlog-checkpoint: origin, size and root, a line each.
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[0] != verifier.Name() {
		return fmt.Errorf("not a checkpoint of %s", verifier.Name())
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return err
	}
	root, err := tlog.ParseHash(lines[2])
	if err != nil {
		return err
	}
	path := make([]tlog.Hash, len(each.Path))
	for i, text := range each.Path {
		if path[i], err = tlog.ParseHash(text); err != nil {
			return err
		}
	}
	if each.Index != nil {
		return tlog.CheckRecord(path, size, root, *each.Index, tlog.RecordHash([]byte(each.Leaf)))
	}
	if each.OldSize != nil {
		oldRoot, err := tlog.ParseHash(each.OldRoot)
		if err != nil {
			return err
		}
		return tlog.CheckTree(path, size, root, *each.OldSize, oldRoot)
	}
	return nil
}
