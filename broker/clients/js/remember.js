// Cursors in the storage of the browser.

const PREFIX = "eventcast.cursor ";

/** where: true or "session" (this tab), "local" (all tabs of the browser), or anything with getItem and setItem. */
export function cursorStore(where, key) {
  const name = `${PREFIX}${key}`;
  const use = (action) => {
    try {
      return action(typeof where === "object" ? where : globalThis[where === "local" ? "localStorage" : "sessionStorage"]);
    } catch {
      // Where the browser stores nothing for a page, it starts again like any other.
      return null;
    }
  };
  return {
    read: () => use((storage) => storage.getItem(name)) ?? "",
    write: (cursor) => use((storage) => storage.setItem(name, cursor)),
  };
}
