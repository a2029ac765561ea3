"use strict";
const token = new URLSearchParams(location.hash.slice(1)).get("token") || location.hash.slice(1);
const tenant = new URLSearchParams(location.search).get("tenant") || "default";
const $ = id => document.getElementById(id);

async function read(path) {
  const answer = await fetch(path, { headers: { Authorization: "Bearer " + token }, cache: "no-store" });
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.message || answer.statusText);
  return body;
}

function element(name, text, style) {
  const made = document.createElement(name);
  if (text !== undefined && text !== null) made.textContent = text;
  if (style) made.className = style;
  return made;
}

function fill(id, rows) {
  const body = document.querySelector("#" + id + " tbody");
  body.replaceChildren(...rows.map(cells => {
    const row = element("tr");
    for (const cell of cells) {
      const td = element("td");
      td.append(cell instanceof Node ? cell : String(cell ?? "–"));
      row.append(td);
    }
    return row;
  }));
}

function site(one) {
  const state = one.ready ? element("span", one.cordoned ? "cordoned" : "ready", "good") : element("span", "lost", "bad");
  const address = one.address ? one.address + ":" + one.ingressPort : null;
  const labels = Object.entries(one.labels).map(([key, value]) => key + "=" + value).join(" ");
  return [one.name, state, address, labels, one.services];
}

function service(one) {
  const status = one.status || {};
  const phase = status.phase || "Pending";
  const style = { Ready: "good", Failed: "bad", SiteLost: "bad" }[phase] || "wait";
  const ready = (status.conditions || []).find(condition => condition.type === "Ready");
  const where = status.migration ? status.migration.from + " → " + status.migration.to : status.site;
  return [one.metadata.name, element("span", phase, style), where, status.epoch, status.requestsAnswered, ready && ready.message];
}

function phases(observed) {
  const steps = (observed && observed.phases) || [];
  const all = element("div");
  if (!steps.length) return all;
  const bar = element("div", null, "phases");
  const total = steps.reduce((sum, step) => sum + step.ms, 0) || 1;
  steps.forEach((step, index) => {
    const weight = Math.max(1, Math.min(6, Math.round(6 + Math.log2(step.ms / total))));
    const part = element("span", null, "step" + index % 7 + " w" + weight);
    part.title = step.name + " " + step.ms.toFixed(2) + " ms";
    bar.append(part);
  });
  const text = steps.map(step => step.name + " " + step.ms.toFixed(1)).join(" · ") + " ms";
  all.append(bar, element("small", text));
  return all;
}

function decision(one) {
  const status = one.status || {};
  const style = { done: "good", pending: "wait" }[status.outcome] || "bad";
  const reason = element("span", one.spec.reason);
  const error = status.observed && status.observed.error;
  if (error) reason.append(element("br"), element("small", error));
  return [new Date(one.spec.at).toLocaleTimeString(), one.spec.action, one.spec.subject, reason, element("span", status.outcome, style), phases(status.observed)];
}

async function refresh() {
  try {
    const base = "/apis/v1/tenants/" + encodeURIComponent(tenant) + "/";
    const [status, services, decisions] = await Promise.all([
      read("/apis/v1/status"), read(base + "service"), read(base + "decision"),
    ]);
    $("summary").textContent = "version " + status.version + " · names under " + status.dns.zone + (status.dns.address ? " at " + status.dns.address : "") + " · tenant " + tenant;
    fill("sites", status.sites.map(site));
    fill("services", services.items.map(service));
    fill("decisions", decisions.items.slice(-50).reverse().map(decision));
    $("problem").hidden = true;
  } catch (error) {
    $("problem").hidden = false;
    $("problem").textContent = token ? error.message : "Put the token behind the address: " + location.origin + "/#token=…";
  }
  setTimeout(refresh, document.hidden ? 10000 : 2000);
}
refresh();
