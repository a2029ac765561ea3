// The frame of the page: where one is, and whether what it shows is up to date.

import { useEffect, useState } from "preact/hooks";
import { tenant, token } from "./api";
import { useWorld } from "./state";
import { Decisions } from "./views/decisions";
import { Model } from "./views/model";
import { Models } from "./views/models";
import { Overview } from "./views/overview";
import { Policies } from "./views/policies";
import { Service } from "./views/service";

const PAGES = [
  ["", "Overview"],
  ["decisions", "Decisions"],
  ["policies", "Policies"],
  ["models", "Models"],
] as const;

function useRoute(): string[] {
  const [hash, setHash] = useState(location.hash);
  useEffect(() => {
    const changed = () => setHash(location.hash);
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  return hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);
}

export function App() {
  const [page = "", name = "", detail = ""] = useRoute();
  if (!token) return <Missing />;
  return <Frame page={page} name={name} detail={detail} />;
}

function Missing() {
  return (
    <main class="empty">
      <h1>CloudSkin</h1>
      <p>
        This page needs the token of the control plane. <code>cloudskin dashboard</code> prints its whole address.
      </p>
    </main>
  );
}

function Frame({ page, name, detail }: { page: string; name: string; detail: string }) {
  const world = useWorld();
  const { overview, problem } = world;
  return (
    <>
      <header>
        <a class="brand" href="#/">
          CloudSkin
        </a>
        <nav>
          {PAGES.map(([path, label]) => (
            <a key={path} href={`#/${path}`} aria-current={page === path ? "page" : undefined}>
              {label}
            </a>
          ))}
        </nav>
        <span class="where">
          tenant {tenant}
          {overview && ` · ${overview.version}`}
          <span class={problem ? "light bad" : "light good"} title={problem ?? "up to date"} />
        </span>
      </header>
      <main>
        {problem && (
          <p role="alert" class="problem">
            Not up to date: {problem}
          </p>
        )}
        {page === "services" && name ? (
          <Service world={world} name={name} />
        ) : page === "decisions" ? (
          <Decisions world={world} open={name} />
        ) : page === "policies" ? (
          <Policies world={world} />
        ) : page === "models" ? (
          name ? <Model key={name} world={world} name={name} wanted={detail} /> : <Models />
        ) : (
          <Overview world={world} />
        )}
      </main>
    </>
  );
}
