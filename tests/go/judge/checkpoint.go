package main

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Opens a checkpoint, and every one within the journal, and computes from the journal's lines what each vouches for.
func checkpoint(vkey, file, journal string) (map[string]any, error) {
	key, err := os.ReadFile(vkey)
	if err != nil {
		return nil, err
	}
	verifier, err := note.NewVerifier(strings.TrimSpace(string(key)))
	if err != nil {
		return nil, err
	}
	kept, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	lines, err := journalLines(journal)
	if err != nil {
		return nil, err
	}
	tree := &tree{}
	within := 0
	for _, line := range lines {
		if signed := noteWithin(line); signed != "" {
			if _, _, err := tree.proves(signed, verifier); err != nil {
				return nil, err
			}
			within++
		}
		if err := tree.grow(line); err != nil {
			return nil, err
		}
	}
	origin, size, err := tree.proves(string(kept), verifier)
	if err != nil {
		return nil, err
	}
	return map[string]any{"origin": origin, "size": size, "within": within}, nil
}

func journalLines(journal string) ([]string, error) {
	segments, err := filepath.Glob(filepath.Join(journal, "*.jsonl"))
	if err != nil {
		return nil, err
	}
	slices.Sort(segments)
	var lines []string
	for _, segment := range segments {
		text, err := os.ReadFile(segment)
		if err != nil {
			return nil, err
		}
		lines = append(lines, strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")...)
	}
	return lines, nil
}

func noteWithin(line string) string {
	var record struct{ Entry struct{ Note string } }
	if json.Unmarshal([]byte(line[65:]), &record) != nil {
		return ""
	}
	return record.Entry.Note
}

// A tree of all records so far, as tlog stores it.
type tree struct {
	hashes []tlog.Hash
	size   int64
}

func (t *tree) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	found := make([]tlog.Hash, len(indexes))
	for at, index := range indexes {
		found[at] = t.hashes[index]
	}
	return found, nil
}

func (t *tree) grow(line string) error {
	digest, err := hex.DecodeString(line[:64])
	if err != nil {
		return err
	}
	stored, err := tlog.StoredHashes(t.size, digest, t)
	if err != nil {
		return err
	}
	t.hashes, t.size = append(t.hashes, stored...), t.size+1
	return nil
}

// Whether a note vouches for just this tree.
func (t *tree) proves(signed string, verifier note.Verifier) (string, int64, error) {
	opened, err := note.Open([]byte(signed), note.VerifierList(verifier))
	if err != nil {
		return "", 0, err
	}
	head := strings.Split(opened.Text, "\n")
	size, err := strconv.ParseInt(head[1], 10, 64)
	if err != nil {
		return "", 0, err
	}
	root, err := tlog.TreeHash(t.size, t)
	if err != nil {
		return "", 0, err
	}
	if size != t.size || head[2] != root.String() {
		return "", 0, fmt.Errorf("it vouches for %d records and %s; there are %d and %s", size, head[2], t.size, root)
	}
	return head[0], size, nil
}
