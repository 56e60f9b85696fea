// On the website, where each minor version has a folder beside newest.txt: a page of an older version says which is the newest.
(async () => {
  const book = new URL(`${path_to_root}./`, location.href); // path_to_root: of mdBook
  const version = book.pathname.split("/").at(-2);
  if (!/^\d+\.\d+$/.test(version)) return;
  const answer = await fetch(new URL("../newest.txt", book));
  const newest = answer.ok ? (await answer.text()).trim() : version;
  if (newest === version || !/^\d+\.\d+$/.test(newest)) return;
  const notice = document.createElement("p");
  const link = document.createElement("a");
  link.href = new URL(`../${newest}/`, book).href;
  link.textContent = `The newest is ${newest}`;
  notice.className = "old-version";
  notice.setAttribute("role", "note");
  notice.append(`This is the documentation of version ${version}. `, link, ".");
  document.querySelector("main").prepend(notice);
})();
