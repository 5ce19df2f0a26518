// `node --import ./testing/register.js --test`: whatever is imported from the host comes from host.js.

import { register } from "node:module";

const hooks = `export const resolve = (name, context, next) =>
  name.startsWith("flowweaver:")
    ? { url: ${JSON.stringify(new URL("host.js", import.meta.url).href)}, shortCircuit: true }
    : next(name, context);`;
register(`data:text/javascript,${encodeURIComponent(hooks)}`);
