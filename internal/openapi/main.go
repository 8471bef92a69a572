// Command openapi writes the OpenAPI document of the HTTP door. It is a plugin of buf: the questions, their parameters and what is said
// about them come from the messages and their comments, so that the document cannot tell of other fields than the server reads.
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"sort"
	"strings"

	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/pluginpb"

	"github.com/varvedb/varve/internal/urlquery"
)

func main() {
	var flags flag.FlagSet
	question := flags.String("question", "varve.v1.FlightQuestion", "the message with all questions")
	statement := flags.String("statement", "varve.v1.SqlRequest", "the message with a statement")
	name := flags.String("name", "openapi.json", "file to write")
	protogen.Options{ParamFunc: flags.Set}.Run(func(p *protogen.Plugin) error {
		p.SupportedFeatures = uint64(pluginpb.CodeGeneratorResponse_FEATURE_PROTO3_OPTIONAL)
		d := document{messages: map[protoreflect.FullName]*protogen.Message{}, schemas: object{}}
		for _, f := range p.Files {
			d.learn(f.Messages)
		}
		var roots []*protogen.Message
		for _, name := range []string{*question, *statement} {
			m, ok := d.messages[protoreflect.FullName(name)]
			if !ok {
				return fmt.Errorf("there is no message %s", name)
			}
			roots = append(roots, m)
		}
		text, err := d.build(roots[0], roots[1])
		if err != nil {
			return err
		}
		_, err = p.NewGeneratedFile(*name, "").Write(text)
		return err
	})
}

type (
	object map[string]any
	list   []any
)

// document is what is known of the messages, and the schemas made of them so far.
type document struct {
	messages map[protoreflect.FullName]*protogen.Message
	schemas  object
}

func (d *document) learn(messages []*protogen.Message) {
	for _, m := range messages {
		d.messages[m.Desc.FullName()] = m
		d.learn(m.Messages)
	}
}

func (d *document) build(question, statement *protogen.Message) ([]byte, error) {
	d.message(question)
	d.message(statement)
	d.schemas["Error"] = object{
		"type": "object", "required": list{"error"},
		"properties": object{"error": object{
			"type": "object", "required": list{"code", "message"},
			"properties": object{
				"code":    object{"type": "string", "description": "the name of a gRPC code, such as INVALID_ARGUMENT"},
				"message": object{"type": "string", "description": "what was wrong, where, and what to do"},
			},
		}},
	}
	d.schemas["Document"] = answerDocument
	answers := object{
		"application/json":                    object{"schema": ref("Document")},
		"application/x-ndjson":                object{"schema": object{"type": "string", "description": "one row as an object per line"}},
		"text/csv":                            object{"schema": object{"type": "string"}},
		"application/vnd.apache.arrow.stream": object{"schema": object{"type": "string", "contentEncoding": "binary"}},
		"application/vnd.apache.parquet":      object{"schema": object{"type": "string", "contentEncoding": "binary"}},
	}
	responses := object{
		"200": object{
			"description": "The answer, streamed. An answer that fails on its way is broken off: the body ends without its end.",
			"headers": object{"Varve-Incomplete": object{
				"description": "log offsets whose samples are missing from the answer", "schema": object{"type": "string"},
			}},
			"content": answers,
		},
		"default": errorResponse,
	}
	format := object{
		"name": "format", "in": "query", "description": "The format of the answer, in place of the Accept header; prometheus and grafana are series for charts.",
		"schema": object{"type": "string", "enum": list{"json", "ndjson", "csv", "arrow", "parquet", "prometheus", "grafana"}},
	}
	plainFormat := object{
		"name": "format", "in": "query", "description": "The format of the answer, in place of the Accept header.",
		"schema": object{"type": "string", "enum": list{"json", "ndjson", "csv", "arrow", "parquet"}},
	}
	doc := object{
		"openapi": "3.1.0",
		"info": object{
			"title": "Varve", "version": "v1", "license": object{"name": "Apache-2.0", "identifier": "Apache-2.0"},
			"description": "Questions about the samples of a process historian. docs/reference/http.md has the rules and worked examples.",
		},
		"servers":  list{object{"url": "/", "description": "the server that answers this document"}},
		"security": list{object{"token": list{}}, object{"password": list{}}},
		"components": object{"schemas": d.schemas, "securitySchemes": object{
			"token":    object{"type": "http", "scheme": "bearer"},
			"password": object{"type": "http", "scheme": "basic", "description": "Any user name, and a token as the password."},
		}},
		"paths": object{
			"/api/v1/query": object{
				"get": object{
					"operationId": "getQuery", "summary": "Ask by parameters",
					"description": "Parameters that read does not have are refused. A tag name with * or ? stands for all tags that match.",
					"parameters":  append(list{format}, d.parameters(question)...), "responses": responses,
				},
				"post": object{
					"operationId": "postQuery", "summary": "Ask by a message",
					"parameters":  list{format},
					"requestBody": object{"required": true, "content": object{"application/json": object{"schema": ref(string(question.Desc.Name()))}}},
					"responses":   responses,
				},
			},
			"/api/v1/sql": object{
				"get": object{
					"operationId": "getSQL", "summary": "Ask by a SELECT statement", "description": "docs/reference/sql.md has the tables and functions.",
					"parameters": list{
						object{"name": "sql", "in": "query", "required": true, "description": "One SELECT statement.", "schema": object{"type": "string"}},
						object{
							"name": "parameter", "in": "query", "description": "The values of $1, $2 …, once for each; they are cast to the types that the statement has for them.",
							"schema": object{"type": "array", "items": object{"type": "string"}},
						},
						plainFormat,
					},
					"responses": responses,
				},
				"post": object{
					"operationId": "postSQL", "summary": "Ask by a SELECT statement in a message",
					"parameters":  list{plainFormat},
					"requestBody": object{"required": true, "content": object{"application/json": object{"schema": ref(string(statement.Desc.Name()))}}},
					"responses":   responses,
				},
			},
			"/api/v1/openapi.json": object{"get": object{
				"operationId": "getOpenAPI", "summary": "This document",
				"responses": object{"200": object{"description": "OpenAPI 3.1", "content": object{"application/json": object{"schema": object{"type": "object"}}}}, "default": errorResponse},
			}},
			"/healthz": probe("getHealth", "Whether the process answers"),
			"/readyz":  probe("getReady", "Whether calls are taken"),
		},
	}
	maps.Copy(doc["paths"].(object), agentPaths())
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	err := e.Encode(doc)
	return out.Bytes(), err
}

var errorResponse = object{
	"description": "What was wrong, before the first byte of an answer",
	"content":     object{"application/json": object{"schema": ref("Error")}},
}

var answerDocument = object{
	"type": "object", "required": list{"columns", "incomplete", "rows"},
	"properties": object{
		"columns": object{"type": "array", "items": object{
			"type": "object", "required": list{"name", "type"},
			"properties": object{
				"name":     object{"type": "string"},
				"type":     object{"type": "string", "description": "time, text, float64, float32, int64, uint64, uint32, bool, bytes, state, quality, decimal, list, or any where tags have several types"},
				"metadata": object{"type": "object", "additionalProperties": object{"type": "string"}},
			},
		}},
		"incomplete": object{"type": list{"string", "null"}, "description": "log offsets whose samples are missing from the answer"},
		"rows":       object{"type": "array", "items": object{"type": "object"}},
	},
}

func probe(id, summary string) object {
	return object{"get": object{
		"operationId": id, "summary": summary, "security": list{},
		"responses": object{
			"200":     object{"description": "It does", "content": object{"text/plain": object{"schema": object{"type": "string"}}}},
			"default": errorResponse,
		},
	}}
}

func ref(schema string) object { return object{"$ref": "#/components/schemas/" + schema} }

// nameOf is the name of a schema: that of the message, behind those it is nested in.
func nameOf(m protoreflect.Descriptor) string {
	if outer, ok := m.Parent().(protoreflect.MessageDescriptor); ok {
		return nameOf(outer) + "." + string(m.Name())
	}
	return string(m.Name())
}

// message makes the schema of a message and of those in it.
func (d *document) message(m *protogen.Message) {
	name := nameOf(m.Desc)
	if _, done := d.schemas[name]; done {
		return
	}
	schema := object{"type": "object", "additionalProperties": false}
	d.schemas[name] = schema
	if text := comment(m.Comments); text != "" {
		schema["description"] = text
	}
	properties := object{}
	for _, f := range m.Fields {
		properties[f.Desc.JSONName()] = d.field(f)
	}
	schema["properties"] = properties
	for _, o := range m.Oneofs {
		if o.Desc.IsSynthetic() {
			continue
		}
		var each list
		for _, f := range o.Fields {
			each = append(each, object{"required": list{f.Desc.JSONName()}})
		}
		schema["oneOf"] = each
	}
}

func (d *document) field(f *protogen.Field) object {
	schema := d.typeOf(f)
	if f.Desc.IsList() {
		schema = object{"type": "array", "items": schema}
	}
	if text := comment(f.Comments); text != "" {
		schema["description"] = text
	}
	return schema
}

// typeOf is the JSON of a value of a field.
func (d *document) typeOf(f *protogen.Field) object {
	switch f.Desc.Kind() {
	case protoreflect.MessageKind:
		m := d.messages[f.Message.Desc.FullName()]
		d.message(m)
		return ref(nameOf(m.Desc))
	case protoreflect.EnumKind:
		var names list
		for _, v := range f.Enum.Values {
			names = append(names, string(v.Desc.Name()))
		}
		return object{"type": "string", "enum": names}
	case protoreflect.BoolKind:
		return object{"type": "boolean"}
	case protoreflect.StringKind:
		return object{"type": "string"}
	case protoreflect.BytesKind:
		return object{"type": "string", "contentEncoding": "base64"}
	case protoreflect.DoubleKind, protoreflect.FloatKind:
		return object{"type": "number", "format": "double"}
	case protoreflect.Uint32Kind:
		return object{"type": "integer", "minimum": 0, "maximum": int64(1<<32 - 1)}
	case protoreflect.Uint64Kind:
		return object{"type": list{"string", "integer"}, "format": "uint64"}
	case protoreflect.Int32Kind, protoreflect.Sint32Kind:
		return object{"type": "integer", "format": "int32"}
	}
	return object{"type": list{"string", "integer"}, "format": "int64"} // as text, where a reader has doubles only
}

// parameters are those of all reads, each with the reads that have it.
func (d *document) parameters(question *protogen.Message) list {
	type found struct {
		urlquery.Parameter
		field *protogen.Field
		reads []string
	}
	byName := map[string]*found{}
	var order, reads []string
	for _, f := range urlquery.Reads(question.Desc) {
		read := string(f.Name())
		reads = append(reads, read)
		m := d.messages[f.Message().FullName()]
		for _, p := range urlquery.Parameters(f.Message()) {
			x := byName[p.Name]
			if x == nil {
				x = &found{Parameter: p}
				byName[p.Name] = x
				order = append(order, p.Name)
			}
			x.reads = append(x.reads, read)
			for _, g := range m.Fields {
				if x.field == nil && p.Field != nil && g.Desc.Name() == p.Field.Name() {
					x.field = g
				}
			}
		}
	}
	sort.Strings(order)
	out := list{object{
		"name": "read", "in": "query", "description": "What is asked.",
		"schema": object{"type": "string", "enum": texts(reads), "default": urlquery.Default},
	}}
	for _, name := range order {
		x := byName[name]
		text := "Of read=" + strings.Join(x.reads, ", ") + "."
		if len(x.reads) == len(reads) {
			text = ""
		}
		if x.field != nil {
			text = strings.TrimSpace(comment(x.field.Comments) + "\n" + text)
		}
		parameter := object{"name": name, "in": "query", "schema": parameterSchema(x.Parameter)}
		if x.One != "" {
			parameter["style"], parameter["explode"] = "form", false
			text = strings.TrimSpace(text + "\nOr " + x.One + ", once for each.")
		}
		if text != "" {
			parameter["description"] = text
		}
		out = append(out, parameter)
	}
	return out
}

func texts(in []string) (out list) {
	for _, s := range in {
		out = append(out, s)
	}
	return out
}

func parameterSchema(p urlquery.Parameter) object {
	schema := object{"type": "string"}
	switch {
	case p.Kind == urlquery.Instant:
		schema["examples"] = list{"2026-03-01T06:00:00Z", "-1h", "now"}
	case p.Kind == urlquery.Duration:
		schema["examples"] = list{"90s", "1h30m"}
	case p.Kind == urlquery.Every:
		schema["examples"] = list{"1m", "1d", "8h of day"}
	case p.Kind == urlquery.Zone:
		schema["examples"] = list{"UTC", "Europe/Berlin"}
	case p.Field.Kind() == protoreflect.EnumKind:
		schema["enum"] = texts(urlquery.Constants(p.Field.Enum()))
	case p.Field.Kind() == protoreflect.BoolKind:
		schema["type"] = "boolean"
	case p.Field.Kind() == protoreflect.DoubleKind:
		schema["type"] = "number"
	case p.Field.Kind() != protoreflect.StringKind:
		schema["type"] = "integer"
	}
	if p.One != "" {
		return object{"type": "array", "items": schema}
	}
	return schema
}

// comment is what a comment says, its lines joined.
func comment(c protogen.CommentSet) string {
	text := strings.TrimSpace(string(c.Leading))
	if text == "" {
		text = strings.TrimSpace(string(c.Trailing))
	}
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return strings.Join(lines, " ")
}
