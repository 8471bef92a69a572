package main

// agentPaths is the ways of agents that write to others over HTTP and to this server as they do. Their bodies are of protocols that are described
// elsewhere; docs/reference/agents.md says what becomes of them.
func agentPaths() object {
	text := func(name, description string) object {
		return object{"name": name, "in": "query", "description": description, "schema": object{"type": "string"}}
	}
	lines := object{"required": true, "content": object{"text/plain": object{"schema": object{"type": "string", "description": "line protocol of InfluxDB, also in gzip"}}}}
	written := object{
		"204":     object{"description": "Everything is stored, on disk and to be read"},
		"400":     object{"description": "Some of it never will be, and the rest is stored; or nothing of it can be read"},
		"503":     object{"description": "Nothing can be stored now; Retry-After says when to try again"},
		"default": object{"description": "What was wrong, as clients of this way read it"},
	}
	alive := func(id string) object {
		return object{"operationId": id, "summary": "Whether the process answers", "security": list{}, "responses": object{"204": object{"description": "It does"}}}
	}
	statement := func(id string) object {
		return object{
			"operationId": id, "summary": "CREATE DATABASE of InfluxQL, which is answered and changes nothing", "parameters": list{text("q", "The statement.")},
			"responses": object{"200": object{"description": "It was one"}, "default": object{"description": "It was another"}},
		}
	}
	return object{
		"/write": object{"post": object{
			"operationId": "writeV1", "summary": "Write lines as version 1 of InfluxDB takes them",
			"parameters":  list{text("precision", "Unit of times: ns, u, ms, s, m or h; ns where none is given."), text("p", "A token, for clients that cannot set a header.")},
			"requestBody": lines, "responses": written,
		}},
		"/api/v2/write": object{"post": object{
			"operationId": "writeV2", "summary": "Write lines as version 2 of InfluxDB takes them",
			"parameters":  list{text("precision", "Unit of times: ns, us, ms or s; ns where none is given.")},
			"requestBody": lines, "responses": written,
		}},
		"/api/v1/write": object{"post": object{
			"operationId": "remoteWrite", "summary": "Write samples as Prometheus does, versions 1.0 and 2.0",
			"requestBody": object{"required": true, "content": object{"application/x-protobuf": object{"schema": object{"type": "string", "contentEncoding": "binary"}}}},
			"responses":   written,
		}},
		"/v1/metrics": object{"post": object{
			"operationId": "writeOTLP", "summary": "Write metrics as OpenTelemetry does",
			"requestBody": object{"required": true, "content": object{
				"application/x-protobuf": object{"schema": object{"type": "string", "contentEncoding": "binary"}},
				"application/json":       object{"schema": object{"type": "object"}},
			}},
			"responses": object{
				"200":     object{"description": "An ExportMetricsServiceResponse, which says what never will be stored"},
				"503":     object{"description": "Nothing can be stored now; Retry-After says when to try again"},
				"default": object{"description": "A google.rpc.Status"},
			},
		}},
		"/query":       object{"get": statement("getInfluxQuery"), "post": statement("postInfluxQuery")},
		"/ping":        object{"get": alive("getPing"), "head": alive("headPing")},
		"/api/v2/ping": object{"get": alive("getPingV2"), "head": alive("headPingV2")},
		"/health": object{"get": object{
			"operationId": "getInfluxHealth", "summary": "The same for clients of version 2 of InfluxDB", "security": list{},
			"responses": object{"200": object{"description": "It does", "content": object{"application/json": object{"schema": object{"type": "object"}}}}},
		}},
	}
}
