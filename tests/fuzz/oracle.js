// Oracle: what Node's HTTP parser, in its strict form, makes of streams of bytes. Each line of stdin
// is a stream in hex, as for framer_main; each line of stdout says as JSON what a server saw, in
// order: {"messages":[{"method","target","body":"<hex>","last":false}],"error":code or null}.
// last: Node takes no other message behind this one, because it closes the connection or asks for
// another protocol.
'use strict';

const http = require('http');
const readline = require('readline');
const { Duplex } = require('stream');

// A connection that gives its bytes at once, then ends, and swallows what is written to it.
class Stream extends Duplex {
  constructor(bytes) {
    super();
    this.bytes = bytes;
  }

  _read() {
    if (this.bytes !== null && this.bytes.length > 0) {
      this.push(this.bytes);
    }
    this.bytes = null;
    this.push(null);
  }

  _write(chunk, encoding, done) {
    done();
  }

  setTimeout() {
    return this;
  }
}

function asksForUpgrade(request) {
  return 'upgrade' in request.headers && /upgrade/i.test(request.headers.connection || '');
}

function feed(bytes) {
  return new Promise((resolve) => {
    const seen = { messages: [], error: null };
    const stream = new Stream(bytes);
    const server = http.createServer({ insecureHTTPParser: false, requireHostHeader: false },
      (request, response) => {
        const body = [];
        request.on('data', (chunk) => body.push(chunk));
        request.on('end', () => {
          seen.messages.push({
            method: request.method,
            target: request.url,
            body: Buffer.concat(body).toString('hex'),
            last: !response.shouldKeepAlive || asksForUpgrade(request),
          });
          response.end();
        });
      });
    server.on('clientError', (error) => {
      seen.error = error.code || String(error);
      // What came before is parsed, but is told to the handlers later.
      setImmediate(() => setImmediate(() => stream.destroy()));
    });
    stream.on('close', () => resolve(seen));
    server.emit('connection', stream);
  });
}

async function main() {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    process.stdout.write(JSON.stringify(await feed(Buffer.from(line, 'hex'))) + '\n');
  }
}

main();
