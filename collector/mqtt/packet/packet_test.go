package packet

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Packets as the figures of the two specifications have them.
func TestPacketsWritten(t *testing.T) {
	c := Connect{ClientID: "v", Clean: true, KeepAlive: 10, User: "u", Password: "p", Will: &Publish{Topic: "t", Payload: []byte("x"), QoS: 1, Retain: true},
		SessionExpiry: 3600, ReceiveMaximum: 20, MaximumPacket: 1 << 20}
	for _, x := range []struct {
		v    Version
		want string
	}{
		{V3, "1019 0004 4d515454 04 ee 000a 0001 76 0001 74 0001 78 0001 75 0001 70"},
		{V5, "1028 0004 4d515454 05 ee 000a 0d 1100000e10 210014 2700100000 0001 76 00 0001 74 0001 78 0001 75 0001 70"},
	} {
		b, err := c.Encode(x.v)
		require.NoError(t, err)
		require.Equal(t, strings.ReplaceAll(x.want, " ", ""), hex.EncodeToString(b))
	}
	plain := Connect{ClientID: "v"}
	b, err := plain.Encode(V5)
	require.NoError(t, err)
	require.Equal(t, "100e00044d5154540500000000000176", hex.EncodeToString(b))
	b, err = EncodeSubscribe(V5, 10, []Filter{{"a/b", 1}, {"c/#", 0}})
	require.NoError(t, err)
	require.Equal(t, "820f000a000003612f62010003632f2300", hex.EncodeToString(b))
	b, err = EncodeSubscribe(V3, 10, []Filter{{"a/b", 1}})
	require.NoError(t, err)
	require.Equal(t, "8208000a0003612f6201", hex.EncodeToString(b))
	require.Equal(t, "40020102", hex.EncodeToString(EncodePuback(258)))
	require.Equal(t, "c000", hex.EncodeToString(EncodePing()))
	require.Equal(t, "e000", hex.EncodeToString(EncodeDisconnect()))
	_, err = EncodeSubscribe(V3, 1, []Filter{{strings.Repeat("x", 1<<16), 0}})
	require.ErrorContains(t, err, "65,535")
}

func TestPublishBothWays(t *testing.T) {
	for _, v := range []Version{V3, V5} {
		for _, m := range []Publish{{Topic: "a/b", Payload: []byte("x")}, {Topic: "é", ID: 7, QoS: 1, Retain: true, Payload: bytes.Repeat([]byte("y"), 200_000)},
			{Topic: "t", ID: 1, QoS: 1, Dup: true, Payload: []byte{}}} {
			b, err := m.Encode(v)
			require.NoError(t, err)
			p, err := Read(bytes.NewReader(b), 1<<20)
			require.NoError(t, err)
			got, err := p.Publish(v)
			require.NoError(t, err)
			require.Equal(t, m, got)
		}
	}
}

func body(t *testing.T, s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	require.NoError(t, err)
	return b
}

func TestAnswersRead(t *testing.T) {
	c, err := Packet{Body: body(t, "01 00 11 11 00000e10 13 003c 24 01 2a 00 12 0002 6964")}.Connack(V5)
	require.NoError(t, err)
	require.Equal(t, Connack{SessionPresent: true, Properties: Properties{SessionExpiry: 3600, HasSessionExpiry: true, KeepAlive: 60, HasKeepAlive: true, MaximumQoS: 1,
		NoShared: true, ClientID: "id"}}, c)
	c, err = Packet{Body: body(t, "00 05")}.Connack(V3)
	require.NoError(t, err)
	require.Equal(t, "not authorized", Reason(V3, c.Code))
	s, err := Packet{Body: body(t, "000a 00 01 87")}.Suback(V5)
	require.NoError(t, err)
	require.Equal(t, []byte{1, 0x87}, s.Codes)
	a, err := Packet{Body: body(t, "0102 97 00")}.Puback()
	require.NoError(t, err)
	require.Equal(t, Puback{258, 0x97}, a)
	d, err := Packet{Body: body(t, "8e 09 1f 0006 627965627965")}.Disconnect()
	require.NoError(t, err)
	require.Equal(t, "bye", d.Reason[:3])
	require.Equal(t, "session taken over", Reason(V5, d.Code))
	d, err = Packet{}.Disconnect()
	require.NoError(t, err)
	require.Zero(t, d.Code)
	require.Equal(t, "code 77", Reason(V5, 77))
}

func TestHostilePackets(t *testing.T) {
	for _, c := range []struct{ bytes, want string }{
		{"30 ffffffff 01", "more than 4 bytes"},
		{"30 ff7f", "EOF"},
		{"30 80", "EOF"},
		{"30 8008", "most is 1000"},
	} {
		_, err := Read(bytes.NewReader(body(t, c.bytes)), 1000)
		if c.want == "EOF" {
			require.Error(t, err)
			continue
		}
		require.ErrorContains(t, err, c.want)
	}
	_, err := Read(strings.NewReader("\x30\xff\x7f"+strings.Repeat("x", 100)), 1<<20) // says 16,383
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	_, err = Read(strings.NewReader("\x30\x80\x80\x80\x7f"), 100<<20)
	require.ErrorIs(t, err, ErrTooLarge)
	for _, c := range []struct {
		flags byte
		b     string
		want  string
	}{
		{0, "00", "ends in its topic"}, {0, "0005 61", "ends in its topic"}, {2, "0001 61 00", "ends in its identifier"}, {6, "0001 61 0001 00", "QoS 3"},
		{2, "0001 61 0000 00", "identifier 0"}, {0, "0000 00", "without a topic"}, {0, "0001 ff 00", "not UTF-8"}, {0, "0001 61 03 23 0001", "topic alias 1"},
		{0, "0001 61 05 23", "ends in its properties"}, {0, "0001 61 01 7f", "property 0x7f"}, {0, "0001 61 02 1f 00", "ends in its reason"},
		{0, "0001 61 ffffffff", "more than 4 bytes"},
	} {
		_, err := Packet{Flags: c.flags, Body: body(t, c.b)}.Publish(V5)
		require.ErrorIs(t, err, ErrPacket, c.b)
		require.ErrorContains(t, err, c.want)
	}
	_, err = Packet{Body: body(t, "0000 00 00")}.Connack(V5)
	require.ErrorContains(t, err, "1 bytes stand behind")
}

func FuzzRead(f *testing.F) {
	m := Publish{Topic: "a", ID: 7, QoS: 1, Payload: []byte("y")}
	b, _ := m.Encode(V5)
	f.Add(b)
	f.Add([]byte("\x20\x09\x00\x00\x06\x11\x00\x00\x0e\x10\x25"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := Read(bytes.NewReader(b), 1<<16)
		if err != nil {
			return
		}
		for _, v := range []Version{V3, V5} {
			for _, err := range []error{second(p.Connack(v)), second(p.Suback(v)), second(p.Puback()), second(p.Disconnect())} {
				if err != nil && !errors.Is(err, ErrPacket) {
					t.Fatal(err)
				}
			}
			m, err := p.Publish(v)
			if err != nil {
				continue
			}
			again, err := m.Encode(v)
			if err != nil {
				t.Fatal(err)
			}
			q, err := Read(bytes.NewReader(again), 1<<17)
			if err != nil {
				t.Fatal(err)
			}
			if n, err := q.Publish(v); err != nil || n.Topic != m.Topic || !bytes.Equal(n.Payload, m.Payload) || n.ID != m.ID {
				t.Fatal("a message changes when it is written", err)
			}
		}
	})
}

func second[T any](_ T, err error) error { return err }
