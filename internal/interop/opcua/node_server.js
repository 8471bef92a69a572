// A plant behind node-opcua: node_server.js PORT FOLDER. It says ready. When the file go is there it changes its variable, as often as go says, at times with
// three values each, and writes what a reader must have to expected.csv: tag, nanoseconds, value, status code; of several values at one time
// the first. With go2 it does so again.
const fs = require("fs");
const path = require("path");
const { OPCUAServer, OPCUACertificateManager, ServerCapabilities, Variant, DataType, StatusCodes, MessageSecurityMode, SecurityPolicy } = require("node-opcua");

const [port, folder] = process.argv.slice(2);
const sleep = (ms) => new Promise((r) => setTimeout(r, ms));
const there = async (name) => { while (!fs.existsSync(path.join(folder, name))) await sleep(50); };

(async () => {
	const serverCertificateManager = new OPCUACertificateManager({ rootFolder: path.join(folder, "pki"), automaticallyAcceptUnknownCertificate: true });
	await serverCertificateManager.initialize();
	const server = new OPCUAServer({
		port: Number(port), hostname: "127.0.0.1", resourcePath: "/plant", serverCertificateManager,
		securityModes: [MessageSecurityMode.None, MessageSecurityMode.SignAndEncrypt], securityPolicies: [SecurityPolicy.None, SecurityPolicy.Basic256Sha256],
		serverInfo: { applicationUri: "urn:varve:interop:node" },
		// A client that asks for each change gets each: the server does not sample then, and what a busy machine makes late is not lost.
		serverCapabilities: new ServerCapabilities({ minSupportedSampleRate: 0 }),
	});
	await server.initialize();
	const space = server.engine.addressSpace;
	const ns = space.registerNamespace("http://plant/");
	const boiler = ns.addObject({ organizedBy: space.rootFolder.objects, browseName: "Boiler" });
	const make = (name, history) => {
		const v = ns.addVariable({ componentOf: boiler, browseName: name, nodeId: `s=Boiler.${name}`, dataType: "Double", minimumSamplingInterval: 0 });
		v.setValueFromSource(new Variant({ dataType: DataType.Double, value: 0 }), StatusCodes.Good, new Date());
		if (history) space.installHistoricalDataNode(v, { maxOnlineValues: 100000 });
		return v;
	};
	const live = make("Live", false);
	const kept = make("Kept", true);
	await server.start();
	fs.copyFileSync(server.certificateFile, path.join(folder, "cert.pem"));
	fs.writeFileSync(path.join(folder, "ready"), "");

	await there("go");
	let rows = [];
	let last = 0;
	for (let i = 1; i <= 1000; i++) {
		while (Date.now() === last) await sleep(1);
		const at = new Date((last = Date.now()));
		const status = i % 3 === 2 ? StatusCodes.UncertainSensorNotAccurate : StatusCodes.Good;
		live.setValueFromSource(new Variant({ dataType: DataType.Double, value: i + 0.25 }), status, at);
		rows.push(["N.Live", `${at.getTime()}000000`, i + 0.25, status.value]);
		await sleep(5);
	}
	fs.writeFileSync(path.join(folder, "new"), rows.map((r) => r.join(",")).join("\n") + "\n");
	fs.renameSync(path.join(folder, "new"), path.join(folder, "expected.csv"));

	await there("go2"); // the collector is off
	rows = [];
	const start = Date.now();
	for (let i = 0; i < 9000; i++) {
		const at = new Date(start + Math.floor(i / 3));
		kept.setValueFromSource(new Variant({ dataType: DataType.Double, value: i }), StatusCodes.Good, at);
		if (i % 3 === 0) rows.push(["N.Kept", `${at.getTime()}000000`, i, 0]);
	}
	rows[rows.length - 1][2] = 8999; // the newest value comes live, before the history is read
	await sleep(3100); // until its last time has come
	fs.writeFileSync(path.join(folder, "new"), rows.map((r) => r.join(",")).join("\n") + "\n");
	fs.renameSync(path.join(folder, "new"), path.join(folder, "expected2.csv"));
	await sleep(3600 * 1000);
})().catch((e) => { console.error(e); process.exit(1); });
