package main

import (
	"bytes"
	"fmt"
	"strconv"

	"github.com/klauspost/compress/gzip"

	"github.com/varvedb/varve/bench/plant"
)

// linePlan is which lines are sent: a sample of every series each round, each connection with a share of the series, as agents have.
type linePlan struct {
	series, rounds, connections int
	together                    int // samples of a series that a body has
	bodyLines                   int // at most
}

const (
	// lineMeasurement and lineField are in every line.
	lineMeasurement, lineField = "process", "value"
	// lineEvery is the nanoseconds from a sample of a series to its next.
	lineEvery = 10_000 * millisecond
	// lineStart is the time of the first round.
	lineStart = plant.Start * millisecond
)

// lineTime is the time of a round, in nanoseconds.
func lineTime(round int) int64 { return lineStart + int64(round)*lineEvery }

// lineValue is a sample of a series, in thousandths: somewhere about its mean, with noise in the last digits.
func lineValue(series, round int) int64 {
	return int64(20_000 + series%60*1000 + (round*7919+series*31)%1000)
}

func lineArea(series int) string { return "a" + strconv.Itoa(series%7) }
func lineUnit(series int) string { return fmt.Sprintf("unit-%06d", series) }

// lineTag is what varve calls a series, and lineMetric what VictoriaMetrics does.
func lineTag(series int) string {
	return fmt.Sprintf("%s.%s{area=%s,unit=%s}", lineMeasurement, lineField, lineArea(series), lineUnit(series))
}

// lineMetric is the name of all series in VictoriaMetrics.
const lineMetric = lineMeasurement + "_" + lineField

// appendLine writes one line. before is what all lines of the series begin with.
func appendLine(dst []byte, before string, value, at int64) []byte {
	dst = append(dst, before...)
	dst = strconv.AppendInt(dst, value/1000, 10)
	dst = append(dst, '.', byte('0'+value/100%10), byte('0'+value/10%10), byte('0'+value%10), ' ')
	return append(strconv.AppendInt(dst, at, 10), '\n')
}

// bodies are those that a connection sends, one after the other, for the rounds [from, to): for so many rounds together the first of its series, then the
// next, a round after the other within a body.
func (p *linePlan) bodies(connection, from, to int) [][]byte {
	first, end := connection*p.series/p.connections, (connection+1)*p.series/p.connections
	before := make([]string, end-first)
	for i := range before {
		before[i] = fmt.Sprintf("%s,area=%s,unit=%s %s=", lineMeasurement, lineArea(first+i), lineUnit(first+i), lineField)
	}
	var all [][]byte
	for round := from; round < to; round += p.together {
		rounds := min(p.together, to-round)
		groups := (len(before)*rounds + p.bodyLines - 1) / p.bodyLines
		for g := range groups {
			part := before[g*len(before)/groups : (g+1)*len(before)/groups]
			body := make([]byte, 0, len(part)*rounds*80)
			for k := range rounds {
				for i, text := range part {
					body = appendLine(body, text, lineValue(first+g*len(before)/groups+i, round+k), lineTime(round+k))
				}
			}
			all = append(all, body)
		}
	}
	return all
}

// pack packs bodies as an agent does, at the level that takes least time.
func pack(bodies [][]byte) error {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	if err != nil {
		return err
	}
	for i, body := range bodies {
		b.Reset()
		z.Reset(&b)
		if _, err := z.Write(body); err != nil {
			return err
		}
		if err := z.Close(); err != nil {
			return err
		}
		bodies[i] = bytes.Clone(b.Bytes())
	}
	return nil
}
