package forward

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"sync"

	"github.com/klauspost/compress/zstd"
	"google.golang.org/protobuf/proto"

	varvev1 "github.com/varvedb/varve/proto/varve/v1"
)

// Errors of files of a spool.
var (
	ErrSpoolFile    = errors.New("a file of the spool is damaged")
	ErrSpoolVersion = errors.New("a file of the spool was written by a newer release")
)

// spoolFile is what stands in a file of a spool in front of its parcel; docs/format/spool.md has the bytes.
type spoolFile struct {
	source   string
	epoch    uint64 // of the stream of files
	sequence uint64 // from 1
	made     int64  // ns UTC
	// The file before: those between that one and this one were perhaps never written, and this one, or the next ones, say again what they said.
	before     uint64 // 0 for none
	beforeHash [sha256.Size]byte
}

const (
	spoolMagic   = "VSPL"
	spoolVersion = 1
	spoolFixed   = 4 + 1 + 1 + 8 + 8 + 8 + 8 + sha256.Size + 4 + 4
	// maxSpoolParcel bounds what a file may become when it is unpacked.
	maxSpoolParcel = 64 << 20
	maxSpoolFile   = maxSpoolParcel + 1<<20
)

var spoolCoder = sync.OnceValues(func() (*zstd.Encoder, error) { return zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1)) })
var spoolDecoder = sync.OnceValues(func() (*zstd.Decoder, error) {
	return zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxSpoolParcel))
})

// encode is the file, and its hash, by which the next one knows it.
func (h *spoolFile) encode(p *varvev1.Parcel) (b []byte, hash [sha256.Size]byte, err error) {
	raw, err := deterministic.Marshal(p)
	if err != nil {
		return nil, hash, fmt.Errorf("encode parcel: %w", err)
	}
	if len(raw) > maxSpoolParcel {
		return nil, hash, fmt.Errorf("parcel has %d bytes, most is %d", len(raw), maxSpoolParcel)
	}
	coder, err := spoolCoder()
	if err != nil {
		return nil, hash, err
	}
	packed := coder.EncodeAll(raw, nil)
	b = append(append(b, spoolMagic...), spoolVersion, byte(len(h.source)))
	for _, v := range []uint64{h.epoch, h.sequence, uint64(h.made), h.before} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	b = append(b, h.beforeHash[:]...)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(raw)))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(packed)))
	b = append(append(b, h.source...), packed...)
	hash = sha256.Sum256(b)
	return append(b, hash[:]...), hash, nil
}

// decodeSpool reads a file. Nothing is unpacked before its hash fits.
func decodeSpool(b []byte) (h spoolFile, p *varvev1.Parcel, hash [sha256.Size]byte, err error) {
	wrong := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s", ErrSpoolFile, fmt.Sprintf(format, args...))
	}
	if len(b) < spoolFixed+sha256.Size {
		return h, nil, hash, wrong("it has %d bytes, least are %d", len(b), spoolFixed+sha256.Size)
	}
	if string(b[:4]) != spoolMagic {
		return h, nil, hash, wrong("it begins with %q", b[:4])
	}
	if b[4] > spoolVersion {
		return h, nil, hash, fmt.Errorf("version %d, newest known is %d: %w", b[4], spoolVersion, ErrSpoolVersion)
	}
	body := b[:len(b)-sha256.Size]
	hash = sha256.Sum256(body)
	if b[4] == 0 || !bytes.Equal(hash[:], b[len(body):]) {
		return h, nil, hash, wrong("its hash does not fit")
	}
	u64 := func(at int) uint64 { return binary.LittleEndian.Uint64(b[at:]) }
	h.epoch, h.sequence, h.made, h.before = u64(6), u64(14), int64(u64(22)), u64(30)
	copy(h.beforeHash[:], b[38:])
	raw, packed, source := binary.LittleEndian.Uint32(b[70:]), binary.LittleEndian.Uint32(b[74:]), int(b[5])
	if uint64(len(body)) != uint64(spoolFixed)+uint64(source)+uint64(packed) || raw > maxSpoolParcel || h.sequence == 0 || h.before >= h.sequence || h.epoch == 0 {
		return h, nil, hash, wrong("its lengths and numbers contradict each other")
	}
	h.source = string(body[spoolFixed : spoolFixed+source])
	if !sourceName.MatchString(h.source) {
		return h, nil, hash, wrong("its source is %.40q", h.source)
	}
	decoder, err := spoolDecoder()
	if err != nil {
		return h, nil, hash, err
	}
	content, err := decoder.DecodeAll(body[spoolFixed+source:], make([]byte, 0, min(int(raw), 8<<20)))
	if err != nil {
		return h, nil, hash, wrong("unpack: %v", err)
	}
	if len(content) != int(raw) {
		return h, nil, hash, wrong("%d bytes were packed, it says %d", len(content), raw)
	}
	p = &varvev1.Parcel{}
	if err := proto.Unmarshal(content, p); err != nil {
		return h, nil, hash, wrong("%v", err)
	}
	return h, p, hash, nil
}

// spoolName is the name of a file: stream and sequence, so that names in order are files in order.
func spoolName(source string, epoch, sequence uint64) string {
	return fmt.Sprintf("%s-%016x-%020d.varve", source, epoch, sequence)
}

var spoolNameForm = regexp.MustCompile(`^([A-Za-z0-9_.-]{1,100})-([0-9a-f]{16})-(\d{20})\.varve$`)

// parseSpoolName is spoolName the other way round; false for a name that is none.
func parseSpoolName(name string) (source string, epoch, sequence uint64, ok bool) {
	m := spoolNameForm.FindStringSubmatch(name)
	if m == nil {
		return "", 0, 0, false
	}
	epoch, err := strconv.ParseUint(m[2], 16, 64)
	if err != nil || epoch == 0 {
		return "", 0, 0, false
	}
	sequence, err = strconv.ParseUint(m[3], 10, 64)
	if err != nil || sequence == 0 {
		return "", 0, 0, false
	}
	return m[1], epoch, sequence, true
}
