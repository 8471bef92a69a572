// Package tier is where sealed chunks go that a plant keeps on slow, large storage: objects that are written whole, read
// in parts, and never changed.
//
// # Promises
//
// An object is there, under its name and durable, once Finish returned; before it is not, whatever a power cut leaves. One that
// is there is the one that was written or damaged: whoever reads it has checksums. Nothing is asked of a store that an object
// store on a network does not have: no rename, no link, no change of what is there.
package tier

import (
	"errors"
	"io"
)

// ErrNotFound is what Open and Remove answer for an object that a store, which was asked and did answer, does not have. A store
// that cannot be asked answers something else.
var ErrNotFound = errors.New("object is not there")

// Store keeps objects. Its methods may be called from any goroutine.
type Store interface {
	// Create begins an object, or one that takes the place of another.
	Create(name string) (Writer, error)
	Open(name string) (Object, error)
	Remove(name string) error
	// List is the names of all objects, in any order.
	List() ([]string, error)
}

// Writer is an object being written. It ends with one call of Finish or Abort.
type Writer interface {
	io.Writer
	// Finish returns once the object is durable under its name.
	Finish() error
	// Abort gives the object up.
	Abort()
}

// Object is an object to be read, by any number of goroutines at once.
type Object interface {
	io.ReaderAt
	io.Closer
	Size() int64
}
