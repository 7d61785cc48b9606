// What every script here shares: where the gateway is, what is asked of it, and how the outcome is printed. See probe.py.
const { GATEWAY_URL: URL, GATEWAY_KEY: KEY, GATEWAY_UPSTREAM: UPSTREAM } = process.env;
const [CHAT, TOOLS, LIMITED, TOO_LONG] = ["chat", "tools", "limited", "long"].map((kind) => `${kind}-${UPSTREAM}`);
const HELLO = "Hello";
const add = ({ first, second }) => `sum ${first + second}`;

function namesOf(error) {
  const names = [];
  for (let each = error; each && names.length < 20; each = each.cause ?? each.lastError) {
    names.push(each.name ?? each.constructor?.name, ...(each.statusCode || each.status ? [`status ${each.statusCode ?? each.status}`] : []));
  }
  return names;
}

async function report(steps) {
  const found = {};
  for (const [name, step] of Object.entries(steps)) {
    try {
      found[name] = await step();
    } catch (error) {
      found[name] = { raised: namesOf(error), message: String(error?.message ?? error).slice(0, 500) };
    }
  }
  console.log(`\n${JSON.stringify(found)}`);
}

export { CHAT, HELLO, KEY, LIMITED, TOOLS, TOO_LONG, URL, add, report };
