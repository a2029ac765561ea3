import { defineConfig } from "vite";

// One script and one style: the control plane puts both into the page, and names their hashes in its policy.
export default defineConfig({
  build: {
    outDir: process.env.CLOUDSKIN_WEB_OUT ?? "dist",
    emptyOutDir: true,
    target: "es2023",
    modulePreload: false,
    cssCodeSplit: false,
    rollupOptions: {
      output: {
        entryFileNames: "dashboard.js",
        assetFileNames: "dashboard[extname]",
        codeSplitting: false,
      },
    },
  },
  server: {
    // `npm run dev` beside a control plane that runs: its address in CLOUDSKIN_URL.
    proxy: Object.fromEntries(
      ["/apis", "/prometheus"].map((path) => [
        path,
        { target: process.env.CLOUDSKIN_URL ?? "http://127.0.0.1:8470", changeOrigin: true },
      ]),
    ),
  },
});
