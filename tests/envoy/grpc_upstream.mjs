// The gRPC upstream: HTTP/2 without TLS, on a port of its own.
//
// Prints {"port": N} when it listens, then a line of JSON for each call: what it received. What it answers is in the
// method's name: `Status7` ends with status 7, `Echo` sends every message back, `Many` three messages for one,
// `Silent` never answers, `Http500` answers no gRPC at all.

import http2 from 'node:http2';

/** A message in gRPC's framing: no compression, length, bytes. */
function frame(message) {
    const head = Buffer.alloc(5);
    head.writeUInt32BE(message.length, 1);
    return Buffer.concat([head, message]);
}

/** The whole messages of a buffer, and what is left of it. */
function* messages(state, data) {
    state.rest = Buffer.concat([state.rest, data]);
    while (state.rest.length >= 5 && state.rest.length >= 5 + state.rest.readUInt32BE(1)) {
        const end = 5 + state.rest.readUInt32BE(1);
        yield state.rest.subarray(5, end);
        state.rest = state.rest.subarray(end);
    }
}

function say(value) {
    process.stdout.write(`${JSON.stringify(value)}\n`);
}

function answer(stream, headers) {
    const method = headers[':path'].split('/').at(-1);
    const seen = { call: { ...headers }, messages: [], ended: false };
    const state = { rest: Buffer.alloc(0) };
    const trailers = { 'grpc-status': /^Status\d+$/.test(method) ? method.slice(6) : '0', 'x-trailing': 'yes' };
    if (method.startsWith('Status')) {
        trailers['grpc-message'] = 'as%20asked';
    }
    say({ begun: headers[':path'] });
    stream.on('error', () => {});
    stream.on('close', () => say(seen));
    if (method === 'Http500') {
        stream.respond({ ':status': 500 }, { endStream: true });
        return;
    }
    if (method !== 'Silent') {
        stream.respond(
            { ':status': 200, 'content-type': 'application/grpc', 'x-initial': 'yes' },
            { waitForTrailers: true },
        );
        stream.on('wantTrailers', () => stream.sendTrailers(trailers));
    }
    stream.on('data', (data) => {
        for (const message of messages(state, data)) {
            seen.messages.push(message.toString('latin1'));
            if (method === 'Echo') {
                stream.write(frame(message));
            }
        }
    });
    stream.on('end', () => {
        seen.ended = true;
        if (method === 'Silent') {
            return;
        }
        for (const text of method === 'Many' ? ['one', 'two', 'three'] : []) {
            stream.write(frame(Buffer.from(text)));
        }
        if (method === 'Status0') {
            stream.write(frame(Buffer.from('granted')));
        }
        stream.end();
    });
}

const server = http2.createServer();
server.on('stream', answer);
server.on('sessionError', () => {});
server.listen(0, '127.0.0.1', () => say({ port: server.address().port }));
process.on('SIGTERM', () => process.exit(0));
