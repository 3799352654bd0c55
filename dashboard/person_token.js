// Keeps a token in a cookie, unless the browser has one, and tells the page which it keeps.
export default function ({ data, setStateValue }) {
  const kept = () => document.cookie.split("; ").find((one) => one.startsWith(`${data.cookie}=`))?.slice(data.cookie.length + 1);
  if (data.replace || !kept()) document.cookie = `${data.cookie}=${data.token}; path=/; max-age=31536000; samesite=strict`;
  setStateValue("token", kept() ?? data.token);
}
