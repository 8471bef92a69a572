package release_test

import (
	"bytes"
	"testing"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/stretchr/testify/require"

	"github.com/varvedb/varve/internal/release"
)

func TestReaderIsLetGo(t *testing.T) {
	var b bytes.Buffer
	w := ipc.NewWriter(&b, ipc.WithSchema(arrow.NewSchema(nil, nil)))
	require.NoError(t, w.Close())
	r, err := ipc.NewReader(&b)
	require.NoError(t, err)
	require.NotPanics(t, func() { release.Reader(r) })
}
