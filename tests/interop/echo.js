// SPDX-License-Identifier: Apache-2.0
// Says what node's parser made of each request: method, target and body, as JSON in base64, in a header.
const http = require('http');

const server = http.createServer((req, res) => {
  const pieces = [];
  req.on('data', (piece) => pieces.push(piece));
  req.on('end', () => {
    const seen = { method: req.method, target: req.url, body: Buffer.concat(pieces).toString('hex') };
    res.setHeader('X-Seen', Buffer.from(JSON.stringify(seen)).toString('base64'));
    res.setHeader('Content-Length', 0);
    res.end();
  });
});
server.keepAliveTimeout = 60000;
server.httpAllowHalfOpen = true;
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
