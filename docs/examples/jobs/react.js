// React 18 as a module, without a build step. With a bundler this file and the import map of the page are not needed.
export const { useEffect, useRef, useState } = window.React;
