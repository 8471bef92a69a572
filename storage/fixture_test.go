package storage

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/internal/plain"
	"github.com/varvedb/varve/model"
)

// writeStore makes the stored store again. See testdata/store-1/README.md for when that is right.
var writeStore = flag.String("write-store", "", "directory to write the store of this release to, with what it answers")

const answersName = "answers.txt.gz"

// answersOf is what a store says of everything in it, sample by sample, as text.
func answersOf(t testing.TB, db *DB) string {
	v, err := db.View(context.Background(), Accepted)
	require.NoError(t, err)
	defer v.Close()
	var b strings.Builder
	for tag := model.TagID(1); int(tag) <= db.Catalog().Len(); tag++ {
		x, _ := db.Catalog().Tag(tag)
		fmt.Fprintf(&b, "tag %d %q %s\n", tag, x.Name, x.Settings[0].Type)
		line := func(what string, s *model.Sample) {
			fmt.Fprintf(&b, "%s %d.%d quality %08x null %t bits %016x blob %x", what, s.Time, s.Seq, uint32(s.Quality), s.Null, s.Bits, s.Blob)
		}
		for _, s := range readAll(t, v, tag, model.All) {
			line("sample", &s)
			b.WriteByte('\n')
		}
		versions, err := v.Versions(context.Background(), tag, model.All)
		require.NoError(t, err)
		for _, x := range versions {
			line("version "+x.Kind.String(), &x.Sample)
			fmt.Fprintf(&b, " source %q author %q reason %q\n", x.Source, x.Author, x.Reason)
		}
		if s, ok := v.Latest(tag); ok {
			line("latest", &s)
			b.WriteByte('\n')
		}
	}
	_, err = v.WriteContents(context.Background(), &b)
	require.NoError(t, err)
	return b.String()
}

// TestWriteStore writes the store of this release: sealed and unsealed data of every type, versions and removals, late data over a
// seal, and records that are in the log only.
func TestWriteStore(t *testing.T) {
	if *writeStore == "" {
		t.Skip("only with -write-store")
	}
	dir := filepath.Join(*writeStore, "store")
	require.NoError(t, os.RemoveAll(dir))
	o := testOptions(vfs.Default)
	o.SegmentBytes = 4 << 10
	o.Rand = rand.NewChaCha8([32]byte{1})
	now := time.Unix(1_767_268_800, 0)
	o.Now = func() time.Time { now = now.Add(time.Second); return now }
	db, err := Open(dir, o)
	require.NoError(t, err)
	h := &history{t: t, rng: rand.New(rand.NewPCG(1, 1)), db: db, model: plain.Store{}, tags: len(testTypes)}
	h.createTags()
	for i := range 90 {
		h.step()
		switch i {
		case 30, 50:
			seal(t, db)
		case 75:
			_, err := db.Flush(context.Background())
			require.NoError(t, err)
		}
	}
	requireSame(t, db, h.model, h.rng)
	answers := answersOf(t, db)
	require.NoError(t, db.Close())
	for _, lock := range []string{"lsm/LOCK", "log/lock"} {
		require.NoError(t, os.Remove(filepath.Join(dir, lock)))
	}
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, err = w.Write([]byte(answers))
	require.NoError(t, errors.Join(err, w.Close()))
	require.NoError(t, os.WriteFile(filepath.Join(*writeStore, answersName), packed.Bytes(), 0o666))
}

// TestStoresOfReleasesOpen opens a copy of every stored store, as it is, read-only, and sealed anew, and holds what it answers
// against what it answered when it was written.
func TestStoresOfReleasesOpen(t *testing.T) {
	kept, err := filepath.Glob("testdata/store-*")
	require.NoError(t, err)
	require.NotEmpty(t, kept)
	for _, stored := range kept {
		t.Run(filepath.Base(stored), func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "store")
			require.NoError(t, os.CopyFS(dir, os.DirFS(filepath.Join(stored, "store"))))
			answers := readAnswers(t, filepath.Join(stored, answersName))
			size := int64(0)
			require.NoError(t, filepath.WalkDir(stored, func(_ string, d fs.DirEntry, err error) error {
				if err == nil && !d.IsDir() {
					info, err := d.Info()
					size += info.Size()
					return err
				}
				return err
			}))
			require.Less(t, size, int64(300_000))

			c, err := Verify(context.Background(), dir, testOptions(vfs.Default), func(d Damage) { require.Fail(t, "damage", d.String()) }, nil)
			require.NoError(t, err)
			require.NotZero(t, c.Content.Versions)
			db, err := OpenReadOnly(dir, testOptions(vfs.Default))
			require.NoError(t, err)
			require.Equal(t, string(answers), answersOf(t, db))
			s := db.Status()
			require.NotZero(t, s.Seals)
			require.NotZero(t, s.Generations)
			require.NotZero(t, s.HeadSamples, "something is in the log only")
			require.NoError(t, db.Close())

			db, err = Open(dir, testOptions(vfs.Default))
			require.NoError(t, err)
			require.Equal(t, string(answers), answersOf(t, db))
			seal(t, db)
			require.Equal(t, contentPart(string(answers)), contentPart(answersOf(t, db)))
			require.Empty(t, db.Status().Alarms)
			require.NoError(t, db.Close())
		})
	}
}

func readAnswers(t *testing.T, name string) []byte {
	f, err := os.Open(name)
	require.NoError(t, err)
	defer f.Close()
	r, err := gzip.NewReader(f)
	require.NoError(t, err)
	b, err := io.ReadAll(r)
	require.NoError(t, err)
	return b
}

// contentPart is the content list behind the samples.
func contentPart(answers string) string {
	_, list, _ := strings.Cut(answers, "varve content\n")
	return list
}
