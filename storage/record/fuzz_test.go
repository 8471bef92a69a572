package record

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// addStored seeds a fuzz target with what version 1 wrote.
func addStored(f *testing.F) {
	files, err := filepath.Glob("testdata/v1/*")
	require.NoError(f, err)
	require.NotEmpty(f, files)
	for _, name := range files {
		b, err := os.ReadFile(name)
		require.NoError(f, err)
		f.Add(b)
	}
}

func FuzzDecodeHeader(f *testing.F) {
	addStored(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		h, body, err := DecodeHeader(b)
		if err != nil {
			require.True(t, errors.Is(err, ErrCorrupt) != errors.Is(err, ErrVersion))
			return
		}
		require.Equal(t, b, append(AppendHeader(nil, h), body...))
	})
}

func FuzzBatch(f *testing.F) {
	addStored(f)
	f.Fuzz(func(t *testing.T, payload []byte) {
		if len(payload) < headerSize {
			return
		}
		for _, kind := range []Kind{Samples, Edit} {
			if err := readBatch(kind, payload[headerSize:]); err != nil {
				require.ErrorIs(t, err, ErrCorrupt)
			}
		}
	})
}

func FuzzOthers(f *testing.F) {
	addStored(f)
	f.Fuzz(func(t *testing.T, payload []byte) {
		if len(payload) < headerSize {
			return
		}
		b := payload[headerSize:]
		again(t, b, DecodeDelete, AppendDelete)
		again(t, b, DecodeUndelete, AppendUndelete)
		again(t, b, DecodeErasure, AppendErasure)
		again(t, b, DecodeHold, AppendHold)
		again(t, b, DecodeRule, AppendRule)
		again(t, b, DecodeState, AppendState)
		again(t, b, DecodeNote, AppendNote)
		again(t, b, DecodeForecast, AppendForecast)
		again(t, b, DecodeLoss, AppendLoss)
	})
}

// again holds that what decodes means the same once it is written anew.
func again[T any](t *testing.T, b []byte, decode func([]byte) (T, error), encode func([]byte, *T) []byte) {
	v, err := decode(b)
	if err != nil {
		require.ErrorIs(t, err, ErrCorrupt)
		return
	}
	w, err := decode(encode(nil, &v))
	require.NoError(t, err)
	require.Equal(t, v, w)
}
