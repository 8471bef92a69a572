package backup

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// copyBytes is how much is read at once, and how often an end of the context is looked at.
const copyBytes = 1 << 20

// sum is the length and hash of what r holds; what it reads is written to w too, unless that is nil.
func sum(ctx context.Context, r io.Reader, w io.Writer, buf []byte) (n int64, h Hash, err error) {
	digest := sha256.New()
	for {
		if err := ctx.Err(); err != nil {
			return n, h, err
		}
		k, err := r.Read(buf)
		if k > 0 {
			_, _ = digest.Write(buf[:k]) // never fails
			n += int64(k)
			if w != nil {
				if _, err := w.Write(buf[:k]); err != nil {
					return n, h, err
				}
			}
		}
		if errors.Is(err, io.EOF) {
			return n, hashOf(digest), nil
		}
		if err != nil {
			return n, h, err
		}
	}
}

func hashOf(d hash.Hash) (h Hash) {
	d.Sum(h[:0])
	return h
}

// copyFile copies from a file into a new one, which is durable when it returns but for its name.
func copyFile(ctx context.Context, from vfs.FS, name string, to vfs.FS, copyName string, buf []byte) (n int64, h Hash, err error) {
	in, err := from.Open(name, vfs.SequentialReadsOption)
	if err != nil {
		return 0, h, err
	}
	defer in.Close()
	out, err := to.Create(copyName, vfs.WriteCategoryUnspecified)
	if err != nil {
		return 0, h, err
	}
	n, h, err = sum(ctx, in, out, buf)
	if err == nil {
		err = out.Sync()
	}
	return n, h, errors.Join(err, out.Close())
}

func hashFile(ctx context.Context, from vfs.FS, name string, buf []byte) (n int64, h Hash, err error) {
	in, err := from.Open(name, vfs.SequentialReadsOption)
	if err != nil {
		return 0, h, err
	}
	defer in.Close()
	return sum(ctx, in, nil, buf)
}

func notExist(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// readFile reads a file of at most limit bytes.
func readFile(fs vfs.FS, name string, limit int64) ([]byte, error) {
	f, err := fs.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s has more than %d bytes: %w", name, limit, ErrDamaged)
	}
	return b, err
}
