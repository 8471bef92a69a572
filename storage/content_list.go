package storage

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"time"

	"github.com/varvedb/varve/model"
	"github.com/varvedb/varve/storage/keys"
)

// A content list is the contents of a store as text, see docs/format/content.md. Stores of equal content have equal lists,
// byte for byte.
const (
	contentListHead = "varve content\nformat %d\ncatalog %d %d %016x\n"
	contentListLine = "%s %d %d %d %s %s %016x\n"
)

// ContentSummary is what a content list comes to.
type ContentSummary struct {
	Revision    uint64 // of the catalogue
	Tags        int
	CatalogHash uint64
	Rows        uint64 // tags in partitions
	Samples     uint64
	Versions    uint64
	First, Last int64 // times, of all rows; both 0 where there are none
}

func (s *ContentSummary) add(c *Content) {
	if s.Rows == 0 {
		s.First, s.Last = c.First, c.Last
	}
	s.First, s.Last = min(s.First, c.First), max(s.Last, c.Last)
	s.Rows++
	s.Samples += c.Samples
	s.Versions += c.Versions
}

// WriteContents writes the content list of the view. It fails on the first damage: what is not known has no hash.
func (v *View) WriteContents(ctx context.Context, w io.Writer) (ContentSummary, error) {
	var s ContentSummary
	b := bufio.NewWriterSize(w, 1<<16)
	s.Revision, s.Tags, s.CatalogHash = v.src.db.catalog.Digest()
	_, _ = b.WriteString(ContentListHead(s.Revision, s.Tags, s.CatalogHash)) // Flush tells
	for c, err := range v.Contents(ctx, model.All) {
		if err != nil {
			return s, err
		}
		s.add(&c)
		if _, err := b.WriteString(c.Line()); err != nil {
			return s, err
		}
	}
	return s, b.Flush()
}

// ContentListHead is the lines in front of a list.
func ContentListHead(revision uint64, tags int, catalogHash uint64) string {
	return fmt.Sprintf(contentListHead, contentVersion, revision, tags, catalogHash)
}

// Line is the content as a line of a list.
func (c *Content) Line() string {
	return fmt.Sprintf(contentListLine, c.Partition, c.Tag, c.Samples, c.Versions, model.FormatTime(c.First), model.FormatTime(c.Last), c.Hash)
}

// ReadContents reads a content list. The summary is complete once all rows are read.
func ReadContents(r io.Reader, s *ContentSummary) iter.Seq2[Content, error] {
	return func(yield func(Content, error) bool) {
		b := bufio.NewReaderSize(r, 1<<16)
		if err := readContentHead(b, s); err != nil {
			yield(Content{}, fmt.Errorf("read content list: %w", err))
			return
		}
		for {
			line, err := b.ReadString('\n')
			if errors.Is(err, io.EOF) && line == "" {
				return
			}
			var c Content
			if err == nil {
				c, err = parseContent(line)
			}
			if err != nil {
				yield(c, fmt.Errorf("read content list: line %q: %w: %w", line, err, ErrCorrupt))
				return
			}
			s.add(&c)
			if !yield(c, nil) {
				return
			}
		}
	}
}

func readContentHead(b *bufio.Reader, s *ContentSummary) error {
	var head strings.Builder
	for range 3 {
		line, err := b.ReadString('\n')
		if err != nil {
			return fmt.Errorf("%w: %w", err, ErrCorrupt)
		}
		head.WriteString(line)
	}
	var version int
	if _, err := fmt.Sscanf(head.String(), "varve content\nformat %d\n", &version); err != nil {
		return fmt.Errorf("%q: %w: %w", head.String(), err, ErrCorrupt)
	}
	if version > contentVersion {
		return fmt.Errorf("format %d, newest known is %d: %w", version, contentVersion, ErrVersion)
	}
	if _, err := fmt.Sscanf(head.String(), strings.ReplaceAll(contentListHead, "%016x", "%x"), &version, &s.Revision, &s.Tags, &s.CatalogHash); err != nil {
		return fmt.Errorf("%q: %w: %w", head.String(), err, ErrCorrupt)
	}
	if fmt.Sprintf(contentListHead, version, s.Revision, s.Tags, s.CatalogHash) != head.String() {
		return fmt.Errorf("%q: %w", head.String(), ErrCorrupt)
	}
	return nil
}

func parseContent(line string) (Content, error) {
	var c Content
	var day, first, last string
	if _, err := fmt.Sscanf(line, strings.ReplaceAll(contentListLine, "%016x", "%x"), &day, &c.Tag, &c.Samples, &c.Versions, &first, &last, &c.Hash); err != nil {
		return c, err
	}
	d, err := time.Parse(time.DateOnly, day)
	if err != nil {
		return c, err
	}
	c.Partition = keys.Partition{Span: keys.Day, Number: int32(floorDays(d.Unix()))} // not through nanoseconds, which begin inside a day
	for _, f := range []struct {
		text string
		into *int64
	}{{first, &c.First}, {last, &c.Last}} {
		t, err := time.Parse(time.RFC3339Nano, f.text)
		if err != nil {
			return c, err
		}
		*f.into = t.UnixNano()
	}
	if c.Line() != line {
		return c, fmt.Errorf("reads as %q", c.Line())
	}
	return c, nil
}

func floorDays(seconds int64) int64 {
	const day = 86400
	d := seconds / day
	if seconds%day < 0 {
		d--
	}
	return d
}
